"""How well images of an unknown class are refused: each class in turn is left out of a head on frozen features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from graft.core.threads import in_order
from graft.heads.feature_file import FeatureFile
from graft.heads.head import linear
from graft.heads.lda import Sums, fit_lda, sums
from graft.images.table import ImageTable
from graft.scores.calibration import fit_temperature
from graft.scores.known import auroc, averaged, entropy, fit_known_score, known_figures
from graft.scores.loss import softmax
from graft.serving.references import centres, nearest, reference_rows, similarities

# Each class takes tenths of a second.
MOST_CLASSES = 10
# The covariance of LDA has a number for each pair of features.
MOST_FEATURES = 4096
# Each thread takes 0.2 GB for so many, and four times as much for `MOST_FEATURES`.
FEATURES_IN_THREADS = 2048
ROWS_IN_BLOCK = 1000
# Of the validation and of the test part: their features and similarities are in memory.
MOST_IMAGES = 10_000


class _Part(NamedTuple):
    """Images of one part: labels, features, and `similarities` to all references."""

    labels: np.ndarray
    features: np.ndarray
    similarity: np.ndarray


def left_out_figures(table: ImageTable, features: FeatureFile) -> dict[str, float] | None:
    """Return how well the images of a class that a classifier has never seen are refused.

    For each class in turn, LDA is fitted to the features of the other classes and calibrated, and
    `graft.scores.known.KnownScore` gets its threshold from their validation images. Known images are those of the other
    classes in the test part, unknown ones those of the class left out.

    Parameters
    ----------
    table : all images.
    features : of the frozen backbone, in the order of the table. Feature maps are averaged over their places.

    Returns
    -------
    classes : how many classes were left out: at most `MOST_CLASSES`, evenly spread. The other figures are means over
    them.
    images : how many images of the test part these figures are of, where it has more than `MOST_IMAGES`.
    auroc : area under the ROC curve; lowest_auroc : of the class where it is lowest.
    auroc_largest_probability, auroc_entropy, auroc_similarity : of these scores alone.
    refused, accepted : share of the unknown images that are refused, and of the known ones that are not.

    None with fewer than three classes, more than `MOST_FEATURES` features, or too few images.
    """
    # Several BLAS threads could change the last bits.
    with threadpool_limits(1, "blas"):
        return _figures(table, features)


def _figures(table: ImageTable, features: FeatureFile) -> dict[str, float] | None:
    size = averaged(features[np.array([0])]).shape[1]
    if len(table.classes) < 3 or size > MOST_FEATURES:
        return None
    rows = {part: np.flatnonzero(table.parts == part) for part in ("train", "validation", "test")}
    train = table.take(rows["train"])
    chosen = reference_rows(train)
    references, label_of = centres(averaged(features[rows["train"][chosen]]), train.labels[chosen])
    some = {part: _some(rows[part]) for part in ("validation", "test")}
    parts = {part: _part(table, features, some[part], references) for part in ("validation", "test")}
    origin = averaged(features[rows["train"][:1]])[0]

    def sums_of(images: np.ndarray) -> Sums:
        blocks = np.split(images, range(ROWS_IN_BLOCK, len(images), ROWS_IN_BLOCK))
        return sums(((averaged(features[block]), table.labels[block]) for block in blocks), len(table.classes), origin)

    total = sums_of(rows["train"])

    def without(label: int) -> dict[str, float] | None:
        others = total - sums_of(rows["train"][train.labels == label])
        return _one_left_out(label, others, origin, parts, label_of != label)

    run = in_order if size <= FEATURES_IN_THREADS else map
    found = [figures for figures in run(without, _spread(len(table.classes)).tolist()) if figures]
    of = {} if len(some["test"]) == len(rows["test"]) else {"images": len(some["test"])}
    return of | _means(found) if found else None


def _some(rows: np.ndarray) -> np.ndarray:
    """Return at most `MOST_IMAGES` of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).astype(int))]


def _part(table: ImageTable, features: FeatureFile, rows: np.ndarray, references: np.ndarray) -> _Part:
    read = averaged(features[rows])
    return _Part(table.labels[rows], read, similarities(read, references))


def _spread(classes: int) -> np.ndarray:
    """Return at most `MOST_CLASSES` of the classes, evenly spread."""
    return np.unique(np.linspace(0, classes - 1, min(classes, MOST_CLASSES)).round().astype(int))


def _one_left_out(
    label: int, others: Sums, origin: np.ndarray, parts: dict[str, _Part], allowed: np.ndarray
) -> dict[str, float] | None:
    """Return the figures of one class that is left out; None with too few images.

    Parameters
    ----------
    label : the class.
    others : sums over the training images of the other classes.
    origin : of the sums.
    parts : validation and test.
    allowed : bool array (references,), those of other classes.
    """
    kept = np.flatnonzero(others.rows)
    kernel, bias = fit_lda(Sums(others.rows[kept], others.features[kept], others.products), origin)
    head = linear(kernel.astype(np.float32), bias.astype(np.float32))
    validation, test = parts["validation"], parts["test"]
    tuning = np.isin(validation.labels, kept)
    known, unknown = test.labels != label, test.labels == label
    if not tuning.any() or not known.any() or not unknown.any():
        return None
    labels = np.searchsorted(kept, validation.labels[tuning])
    head = head.at_temperature(fit_temperature(head.logits(validation.features[tuning]), labels))
    probabilities = {part: softmax(head.logits(each.features)) for part, each in parts.items()}
    similar = {part: nearest(each.similarity, allowed) for part, each in parts.items()}
    score = fit_known_score(similar["validation"][tuning], entropy(probabilities["validation"][tuning]))
    if score is None:
        return None
    entropies, largest = entropy(probabilities["test"]), probabilities["test"].max(axis=1)
    scores = score(similar["test"], entropies)
    figures = known_figures(scores[known], scores[unknown])
    return {
        "auroc": figures["auroc"],
        "auroc_largest_probability": auroc(largest[known], largest[unknown]),
        "auroc_entropy": auroc(-entropies[known], -entropies[unknown]),
        "auroc_similarity": auroc(similar["test"][known], similar["test"][unknown]),
        "refused": figures["refused"],
        "accepted": float((scores[known] >= 0).mean()),
    }


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    means = {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}
    lowest = min(figures["auroc"] for figures in found)
    return {"classes": len(found), "auroc": means.pop("auroc"), "lowest_auroc": lowest, **means}
