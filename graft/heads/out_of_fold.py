"""What LDA says of every image when it is fitted to other images: probabilities, and the distance to the classes.

LDA is half of the linear head, and has a closed form: it takes seconds where logistic regression takes minutes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, solve_triangular
from threadpoolctl import threadpool_limits

from graft.core.threads import in_order
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import grouped_folds
from graft.heads.lda import Sums, gaussians, sums
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax

# More folds leave out fewer images, and cost a factorisation of the covariance each.
FOLDS = 10
# More features are projected to so many: the matrices of all folds take 1.1 GB then.
MOST_FEATURES = 2048
# More images do not change the temperature.
MOST_CALIBRATING = 50_000
# Images read at once.
BLOCK = 1024


class OutOfFold(NamedTuple):
    """What is known of the images that could be held out: those whose class has an image that is no copy of it.

    Attributes
    ----------
    images : int64 (judged,), indices of the images in ascending order.
    probabilities : float64 (judged, classes), calibrated on all of them.
    distances : float64 (judged,), the Mahalanobis distance to the nearest class (Lee et al. 2018, "A Simple Unified
        Framework for Detecting Out-of-Distribution Samples", arXiv 1807.03888).
    """

    images: np.ndarray
    probabilities: np.ndarray
    distances: np.ndarray


def out_of_fold(
    features: np.ndarray | FeatureFile, labels: np.ndarray, groups: np.ndarray, classes: int, folds: int = FOLDS
) -> OutOfFold:
    """Judge each image by LDA that is fitted without it and without its copies. The same images give the same bits.

    Time and memory are bounded: 3 * images * features**2 operations, and at most 24 * (folds + 1) * features**2 bytes,
    with at most `MOST_FEATURES` features, and 8 bytes for each image and class.

    Parameters
    ----------
    features : float32 (images, features), or maps (images, height, width, channels), which are averaged over height
        and width.
    labels : int array (images,), from 0; each class occurs.
    groups : array (images,), the same for copies of one picture.
    classes : number of classes, from 2.
    folds : from 2.
    """
    parts = grouped_folds(labels, groups, 0, folds)
    if not parts:
        return OutOfFold(np.empty(0, np.int64), np.empty((0, classes)), np.empty(0))
    images = np.sort(np.concatenate([part.held_out for part in parts]))
    never = np.setdiff1d(np.arange(len(labels)), images)
    squares = np.empty((len(labels), classes))
    part_of, log_shares = np.zeros(len(labels), np.int8), np.empty((len(parts), classes))
    # One BLAS thread: with more, the last bits depend on their number.
    with threadpool_limits(1, "blas"):
        reader = _Reader(features, labels)
        held_out = [*(part.held_out for part in parts), never]
        of_parts = list(in_order(lambda those: sums(reader.blocks(those), classes, reader.origin), held_out))
        total = sum(of_parts[1:], of_parts[0])

        def judge(place: int) -> None:
            those, training = held_out[place], total - of_parts[place]
            part_of[those], log_shares[place] = place, np.log(training.rows / training.rows.sum())
            squares[those] = _squared_distances(reader, those, training)

        for _ in in_order(judge, range(len(parts))):
            pass
    if len(never):
        squares = squares[images]
    distances = np.sqrt(squares.min(axis=1))
    # In place and in blocks: a second array of this size would double the memory.
    logits = squares
    for start in range(0, len(images), BLOCK):
        block = slice(start, start + BLOCK)
        logits[block] = log_shares[part_of[images[block]]] - squares[block] / 2
    some = np.linspace(0, len(images) - 1, min(len(images), MOST_CALIBRATING)).astype(int)
    temperature = fit_temperature(logits[some], labels[images[some]])
    for start in range(0, len(images), BLOCK):
        block = slice(start, start + BLOCK)
        logits[block] = softmax(logits[block] / temperature)
    return OutOfFold(images, logits, distances)


def _squared_distances(reader: "_Reader", images: np.ndarray, training: Sums) -> np.ndarray:
    """Return the squared Mahalanobis distance of images to each class, float64 (images, classes)."""
    means, covariance = gaussians(training)
    if covariance is None:
        return np.zeros((len(images), len(means)))
    factor, _ = cho_factor(covariance, lower=True, overwrite_a=True)
    # In these coordinates each class is a ball of radius 1.
    centres = solve_triangular(factor, means.T, lower=True)
    found = []
    for rows, _ in reader.blocks(images):
        moved = np.subtract(rows, reader.origin, dtype=np.float64).T
        points = solve_triangular(factor, moved, lower=True, overwrite_b=True)
        squares = (points**2).sum(axis=0)[:, np.newaxis] - 2 * points.T @ centres + (centres**2).sum(axis=0)
        found.append(np.maximum(squares, 0))
    return np.concatenate(found)


class _Reader:
    """Reads the features of images as rows of at most `MOST_FEATURES` numbers."""

    def __init__(self, features: np.ndarray | FeatureFile, labels: np.ndarray) -> None:
        self._features, self._labels = features, labels
        size = features.shape[-1]
        self._projection = None
        if size > MOST_FEATURES:
            # Distances stay about the same (Johnson and Lindenstrauss 1984).
            random = np.random.default_rng(0).standard_normal((size, MOST_FEATURES), np.float32)
            self._projection = random / np.float32(np.sqrt(MOST_FEATURES))
        self.origin = self._read(np.array([0]))[0]

    def blocks(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield rows, float32 (block, features), and labels, (block,), of some images at a time."""
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            yield self._read(block), self._labels[block]

    def _read(self, images: np.ndarray) -> np.ndarray:
        rows = self._features[images]
        if rows.ndim > 2:
            rows = rows.mean(axis=tuple(range(1, rows.ndim - 1)))
        return rows if self._projection is None else rows @ self._projection
