"""Which labels are probably wrong, from probabilities of a classifier that was not trained on the image itself."""

from typing import NamedTuple

import numpy as np

# Images looked at together.
BLOCK = 1 << 14


class LabelErrors(NamedTuple):
    """What confident learning says of each image; arrays (images,).

    Attributes
    ----------
    scores : float64, from 0 to 1: how improbable the given label is, 1 - p(label). Of all images, the most suspect one
        has the highest score.
    likelier : int64, the most probable of the other classes.
    suspect : bool, whether the label is counted as wrong.
    """

    scores: np.ndarray
    likelier: np.ndarray
    suspect: np.ndarray


def find_label_errors(probabilities: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Find labels that are probably wrong, by confident learning.

    Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 1373-1411, arXiv
    1911.00068. The threshold of a class is the mean probability of the class over the images with its label (equation
    2). An image counts for the class whose probability is highest among those that reach their thresholds (equation 1).
    Its label is suspect where that is another class than its own.

    Parameters
    ----------
    probabilities : float array (images, classes), rows sum to 1; each row from a classifier that was fitted without
        this image.
    labels : int array (images,), the given labels, which may be wrong.
    """
    thresholds = class_thresholds(probabilities, labels)
    # In blocks: the copies that this takes are small.
    parts = [
        _label_errors(probabilities[start : start + BLOCK], labels[start : start + BLOCK], thresholds)
        for start in range(0, max(1, len(labels)), BLOCK)
    ]
    return LabelErrors(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _label_errors(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> LabelErrors:
    rows = np.arange(len(labels))
    counted = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = counted.argmax(axis=1)
    # Of two classes that are equally probable, the given label is right.
    own = counted[rows, labels]
    suspect = (counted[rows, best] >= 0) & (counted[rows, best] > own)
    others = probabilities.astype(np.float64)
    others[rows, labels] = -1
    return LabelErrors(1.0 - probabilities[rows, labels], others.argmax(axis=1), suspect)


def class_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean probability of each class over the images with its label, float64 (classes,).

    A class without images has the threshold infinity: no image counts for it.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, probabilities[np.arange(len(labels)), labels], classes)
    return np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)


def precision_and_average_precision(scores: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Return how well scores rank images with wrong labels first, each from 0 to 1.

    Parameters
    ----------
    scores : float array (images,); of equal scores, the first image counts as the higher one.
    wrong : bool array (images,), whether the label is wrong; of one image or more it is.

    Returns
    -------
    The share of wrong labels among the first n, where n is the number of wrong ones; and the average precision, the
    mean over the wrong ones of the share of wrong ones down to each.
    """
    ranked = wrong[np.argsort(-scores, kind="stable")]
    precision = ranked.cumsum() / np.arange(1, len(ranked) + 1)
    return float(ranked[: wrong.sum()].mean()), float(precision[ranked].mean())
