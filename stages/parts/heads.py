"""Classifiers on the frozen backbone's features, trained on cached arrays."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from threadpoolctl import threadpool_limits

from stages.parts.scores import PROBABILITY_FLOOR, cross_entropy

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Inverse strengths of the L2 penalty that cross-validation chooses from, on standardised features.
STRENGTHS = tuple(10.0 ** np.arange(-5, 1.1, 0.5))
DEFAULT_STRENGTH = 1e-2
FOLDS = 4
MAX_ITERATIONS = 1000
TOLERANCE = 1e-3
# Relative to its mean, a spread that float32 cannot tell from none.
ROUNDING = 1e-6


@dataclass(frozen=True)
class LinearHead:
    """logits = features @ kernel + bias.

    Attributes
    ----------
    kernel : float32 array (features, classes).
    bias : float32 array (classes,).
    """

    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return float32 array (images, classes) for features (images, features)."""
        return features @ self.kernel + self.bias

    def at_temperature(self, temperature: float) -> "LinearHead":
        """Return the head whose logits are these divided by `temperature`, above 0."""
        return LinearHead(self.kernel / np.float32(temperature), self.bias / np.float32(temperature))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of each row, float64 array of the same shape."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, from 1/20 to 20, by which to divide logits so that their probabilities are calibrated.

    It has the lowest cross-entropy (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599),
    with one label in n + 1 spread over all classes: else a few images, all of them right, would make it as sure as the
    bounds allow (Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2, has the like).

    Parameters
    ----------
    logits : float array (images, classes), of images that the classifier was not trained on.
    labels : int array (images,).
    """
    doubt = 1 / (len(labels) + 1)

    def loss(log_temperature: float) -> float:
        shares = probabilities(logits / np.exp(log_temperature))
        spread = -np.log(np.maximum(shares, PROBABILITY_FLOOR)).mean()
        return (1 - doubt) * cross_entropy(shares, labels) + doubt * float(spread)

    bound = np.log(20)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def fit_linear(features: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> LinearHead:
    """Fit multinomial logistic regression by L-BFGS on standardised features.

    The standardiser is folded into the weights, so that the head takes features as they are (Kornblith et al. 2019,
    arXiv 1805.08974, use this classifier to compare backbones).

    Parameters
    ----------
    features : float32 array (images, features).
    labels : int array (images,), from 0; each of the classes occurs.
    classes : how many there are, from 2.
    strength : inverse strength of the L2 penalty, above 0 (`C` of scikit-learn).
    """
    with one_blas_thread():
        return next(_fitted_path(features, labels, classes, [strength]))


def choose_strength(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> float:
    """Return the strength of `STRENGTHS` with the lowest cross-entropy on held-out folds of the given images.

    A class with a single image, which cannot be held out, leaves the default.

    Parameters
    ----------
    features, labels, classes : as for `fit_linear`.
    seed : of the folds.
    """
    if np.bincount(labels, minlength=classes).min() < 2:
        return DEFAULT_STRENGTH
    return float(STRENGTHS[int(held_out_losses(features, labels, classes, seed).argmin())])


def held_out_losses(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return the cross-entropy of each of `STRENGTHS`, in nats, float64 array, as the mean over held-out folds.

    A class with fewer images than `FOLDS` makes the folds fewer.

    Parameters
    ----------
    features, labels, classes : as for `fit_linear`; each class has two images or more.
    seed : of the folds.
    """
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels, minlength=classes).min()))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels)
    # The limit is the process's: set in each thread, one would lift it for the others.
    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as threads:
        losses = threads.map(lambda part: _held_out_losses(features, labels, classes, *part), parts)
        return np.mean(list(losses), axis=0)


def one_blas_thread() -> threadpool_limits:
    """Return a context with one BLAS thread: more are slower on small matrices, and change the last bits."""
    return threadpool_limits(1, "blas")


def _held_out_losses(
    features: np.ndarray, labels: np.ndarray, classes: int, train: np.ndarray, held_out: np.ndarray
) -> list[float]:
    heads = _fitted_path(features[train], labels[train], classes, STRENGTHS)
    return [cross_entropy(probabilities(head.logits(features[held_out])), labels[held_out]) for head in heads]


def _fitted_path(
    features: np.ndarray, labels: np.ndarray, classes: int, strengths: Sequence[float]
) -> Iterator[LinearHead]:
    """Yield the head of each strength, every search starting where the one before ended."""
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    standardised = features - mean
    scale = np.sqrt(np.einsum("if,if->f", standardised, standardised, dtype=np.float64) / len(features))
    # A feature that changes by rounding alone says nothing: divided by so little, it would drown the others.
    scale[scale <= ROUNDING * np.abs(mean)] = 1
    standardised /= scale
    # Imported where it is needed: fine_tune and export only use heads that are fitted.
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=MAX_ITERATIONS, tol=TOLERANCE, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength).fit(standardised, labels)
        yield _folded(model, mean, scale)


def _folded(model: "LogisticRegression", mean: np.ndarray, scale: np.ndarray) -> LinearHead:
    kernel, bias = model.coef_.T / scale[:, np.newaxis], model.intercept_
    if kernel.shape[1] == 1:
        # Of two classes scikit-learn fits the second's logit only.
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.concatenate([-bias / 2, bias / 2])
    return LinearHead(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32))
