"""Linear discriminant analysis (LDA) from sums over blocks of rows, so that the rows need not fit in memory.

The result is that of scikit-learn's LinearDiscriminantAnalysis with the solver `lsqr`, which needs all rows at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

# How far the covariance is moved towards a multiple of the identity.
SHRINKAGE = 0.3
# Where the variance within the classes is a smaller part of all, it is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Sums:
    """What LDA needs to know of some rows; float64, because differences of sums lose digits.

    Attributes
    ----------
    rows : (classes,), the number of rows of each class.
    features : (classes, features), the sum of the rows of each class.
    products : (features, features), the sum over rows of each row's outer product with itself.
    """

    rows: np.ndarray
    features: np.ndarray
    products: np.ndarray

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.rows + other.rows, self.features + other.features, self.products + other.products)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.rows - other.rows, self.features - other.features, self.products - other.products)


def sums(blocks: Iterable[tuple[np.ndarray, np.ndarray]], classes: int, origin: np.ndarray) -> Sums:
    """Return the sums over all rows, each row less `origin`.

    Parameters
    ----------
    blocks : pairs of rows, float32 (rows, features), and their labels, int (rows,), from 0.
    classes : number of classes.
    origin : float32 (features,), one of the rows: a feature that never changes is then exactly 0.
    """
    size = len(origin)
    found = Sums(np.zeros(classes), np.zeros((classes, size)), np.zeros((size, size)))
    for rows, labels in blocks:
        moved = np.subtract(rows, origin, dtype=np.float64)
        members = labels == np.arange(classes)[:, np.newaxis]
        found.rows[:] += members.sum(axis=1)
        found.features[:] += members.astype(np.float64) @ moved
        found.products[:] += moved.T @ moved
    return found


def fit_lda(found: Sums, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel, float64 (features, classes), and a bias, (classes,): the logits are ``rows @ kernel + bias``.

    Each class is a Gaussian; all have one covariance, shrunk by `SHRINKAGE` (Friedman 1989, "Regularized Discriminant
    Analysis", JASA 84). If nothing varies within the classes, the logits are those of the classes' shares.

    Parameters
    ----------
    found : of the training rows, less `origin`; each class has a row.
    origin : float32 (features,).
    """
    means, covariance = gaussians(found)
    kernel = np.zeros_like(means.T)
    if covariance is not None:
        kernel = solve(covariance, means.T, assume_a="pos", overwrite_a=True)
    bias = np.log(found.rows / found.rows.sum()) - 0.5 * np.einsum("cf,fc->c", means, kernel) - origin @ kernel
    # Softmax does not see what all logits share, and float32 keeps more digits without it.
    return kernel - kernel.mean(axis=1, keepdims=True), bias - bias.mean()


def gaussians(found: Sums) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the Gaussians of LDA: the mean of each class, and the shrunk covariance within the classes.

    Returns
    -------
    Means, float64 (classes, features), and a new array (features, features), or None if nothing varies within the
    classes.
    """
    means = found.features / found.rows[:, np.newaxis]
    covariance = (found.products - found.features.T @ means) / found.rows.sum()
    size = len(covariance)
    variance = covariance.trace() / size
    if not variance * found.rows.sum() > ROUNDING * found.products.trace() / size:
        return means, None
    covariance *= 1 - SHRINKAGE
    covariance[np.diag_indices_from(covariance)] += SHRINKAGE * variance
    return means, covariance
