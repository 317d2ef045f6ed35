"""Is an image of one of the classes at all? A score of how well it is known. NumPy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from graft.scores.conformal import least_accepted

# The share of the images of known classes that is to be accepted.
ACCEPTED = 0.95
PROBABILITY_FLOOR = 1e-12
# Where all images are alike, there is no deviation to divide by.
LEAST_DEVIATION = 1e-3


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the probability that a known image has a higher score than an unknown one; an equal score counts half.

    It is the area under the ROC curve: 0.5 is chance, 1 is perfect.

    Parameters
    ----------
    known, unknown : float arrays (images,), at least one image each.
    """
    ordered = np.sort(unknown)
    lower, not_higher = (np.searchsorted(ordered, known, side) for side in ("left", "right"))
    return float((lower + not_higher).mean() / 2 / len(unknown))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy of each row in nats, from 0 (sure), float array (..., classes) to (...)."""
    return -(probabilities * np.log(probabilities + PROBABILITY_FLOOR)).sum(axis=-1)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Return the rows divided by their length, float array (rows, features); a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def averaged(features: np.ndarray) -> np.ndarray:
    """Return feature maps (images, height, width, channels) averaged over their places; other features as they are."""
    return features.mean(axis=(1, 2)) if features.ndim == 4 else features


class KnownScore(NamedTuple):
    """How well an image is known: `similarity` times its similarity, less `entropy` times its entropy, less `offset`.

    Below 0 it is of none of the classes. The similarity of an image is the cosine of its features and the most similar
    centre of the training images' features. Similarity notices images that look like no training image, entropy those
    between classes.
    """

    similarity: float
    entropy: float
    offset: float

    def __call__(self, similarity: np.ndarray, entropy: np.ndarray) -> np.ndarray:
        """Return the score of each image, float array of the arguments' shape."""
        return self.similarity * similarity - self.entropy * entropy - self.offset


def fit_known_score(similarity: np.ndarray, entropy: np.ndarray) -> KnownScore | None:
    """Return the score that accepts `ACCEPTED` of such images, or None with too few images.

    Similarity and entropy are divided by their standard deviations, so that both count alike.

    Parameters
    ----------
    similarity, entropy : float arrays (images,), of images of the classes on which the classifier was not trained.
    """
    of_similarity, of_entropy = (1 / max(float(values.std()), LEAST_DEVIATION) for values in (similarity, entropy))
    unshifted = KnownScore(of_similarity, of_entropy, 0.0)
    offset = least_accepted(unshifted(similarity, entropy), ACCEPTED)
    return None if offset is None else unshifted._replace(offset=offset)


def known_figures(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """Return how well scores tell images apart: `auroc`, and the share of the unknown images that is refused.

    Parameters
    ----------
    known, unknown : float arrays (images,) of scores; below 0 an image is refused.
    """
    return {"auroc": auroc(known, unknown), "refused": float((unknown < 0).mean()), "images": len(unknown)}
