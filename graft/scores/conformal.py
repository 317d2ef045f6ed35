"""Conformal prediction: sets of classes that contain the right one with a wanted probability. NumPy alone."""

from __future__ import annotations

import math

import numpy as np


def least_accepted(scores: np.ndarray, share: float) -> float | None:
    """Return the threshold that the score of a new image reaches with a probability of at least `share`.

    It holds for every distribution, if the new image is a random draw from where the others come from: with n scores,
    the threshold is the one of rank floor((n + 1) (1 - share)) from below (Angelopoulos & Bates 2021, "A Gentle
    Introduction to Conformal Prediction", arXiv 2107.07511, section 1).

    Parameters
    ----------
    scores : float array (images,).
    share : above 0 and below 1.

    Returns
    -------
    One of the scores; or None with fewer than `images_needed` images.
    """
    rank = _rank(len(scores), share)
    return float(np.sort(scores)[rank - 1]) if rank else None


def images_needed(share: float) -> int:
    """Return the number of images from which `least_accepted` has a threshold."""
    return max(1, math.ceil(round(1 / (1 - share), 6)) - 1)


def _rank(images: int, share: float) -> int:
    # Without rounding, 10 x (1 - 0.9) is below 1.
    return math.floor(round((images + 1) * (1 - share), 9))


def least_probability(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float | None:
    """Return the least probability of the classes in a prediction set, or None with too few images.

    The score of an image is the probability of its class ("least ambiguous sets": Sadinle, Lei & Wasserman 2019, JASA
    114, arXiv 1609.00451).

    Parameters
    ----------
    probabilities : float array (images, classes), of images that the classifier was not trained on.
    labels : int array (images,), the class of each.
    coverage : wanted share of the sets that contain the image's class, above 0 and below 1.
    """
    return least_accepted(probabilities[np.arange(len(labels)), labels], coverage)


def prediction_sets(probabilities: np.ndarray, least: float) -> np.ndarray:
    """Return which classes are in the set of each image, bool array (images, classes).

    These are all classes with a probability of at least `least`, and always the most probable class: a set is never
    empty, and contains the image's class as often or more often.

    Parameters
    ----------
    probabilities : float array (images, classes).
    least : of `least_probability`.
    """
    sets = probabilities >= least
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets
