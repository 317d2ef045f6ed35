"""Fits linear heads: logistic regression, and discriminant analysis mixed in where held-out images ask for it."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from graft.heads.head import Head, linear
from graft.scores.calibration import fit_temperature
from graft.scores.loss import cross_entropy, softmax

# Inverse strengths of the L2 penalty that cross-validation chooses from, on features of unit scale.
STRENGTHS = tuple(10.0 ** np.arange(-5, 1.1, 0.5))
DEFAULT_STRENGTH = 1e-2
# Shares of the discriminant that cross-validation chooses from.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# How far the discriminant's covariance is moved towards a sphere. Its share is chosen: this need not be.
SHRINKAGE = 0.3
# A fit to 15,000 rows of 1,280 features takes 2 s, to 2,560 features 12 s.
MOST_FEATURES = 4096
FOLDS = 4
MAX_ITERATIONS = 1000
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Examples:
    """What to learn from.

    Attributes
    ----------
    features : float32 array (images, features).
    labels : int array (images,), from 0; each of the classes occurs.
    classes : how many there are, from 2.
    views : float32 array (images, views, features), of augmented views of the same images; or None.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: int
    views: np.ndarray | None = None

    def of(self, images: np.ndarray) -> "Examples":
        """Return some of the images, with their views."""
        views = None if self.views is None else self.views[images]
        return Examples(self.features[images], self.labels[images], self.classes, views)

    def rows(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the features of images and views, a row each, the label of each row, and the rows of an image."""
        if self.views is None:
            return self.features, self.labels, 1
        views = self.views.shape[1]
        rows = np.concatenate([self.features, self.views.reshape(-1, self.features.shape[1])])
        return rows, np.concatenate([self.labels, self.labels.repeat(views)]), 1 + views


class Mixture(NamedTuple):
    """What a head is made of.

    Attributes
    ----------
    strength : inverse strength of the L2 penalty of logistic regression on the images alone, above 0 (`C` of
        scikit-learn). It weighs the sum over all rows: where views add rows, each counts for less.
    share : of the discriminant, from 0 to 1; the rest is logistic regression.
    temperatures : by which the logits of regression and discriminant are divided before they are averaged: each is then
        as sure as it is right.
    """

    strength: float
    share: float = 0.0
    temperatures: tuple[float, float] = (1.0, 1.0)


def fit(examples: Examples, mixture: Mixture) -> Head:
    """Return the head whose logits are the weighted mean of those of logistic regression and of a discriminant.

    Both are linear, and so is their mean, which multiplies probabilities (a logarithmic opinion pool: Genest & Zidek
    1986, "Combining Probability Distributions", Statistical Science 1).
    """
    with _one_blas_thread(), _no_word_of_single_rows():
        if not mixture.share:
            return _regression(examples, mixture.strength)
        heads = _regression(examples, mixture.strength), _discriminant(examples)
    weights = np.array([1 - mixture.share, mixture.share]) / mixture.temperatures
    kernels, biases = zip(*(head.dense[0] for head in heads), strict=True)
    return linear(*(np.tensordot(weights, arrays, 1).astype(np.float32) for arrays in (kernels, biases)))


def choose_strength(examples: Examples, seed: int) -> float:
    """Return the strength of `STRENGTHS` with the lowest cross-entropy on held-out folds of the images; without views.

    A class with a single image, which cannot be held out, leaves the default.

    Parameters
    ----------
    examples : Examples
    seed : of the folds.
    """
    if _fewest(examples.labels) < 2:
        return DEFAULT_STRENGTH
    return float(STRENGTHS[int(held_out_losses(examples, seed).argmin())])


def no_discriminant(examples: Examples) -> str | None:
    """Return why `choose_mixture` cannot judge a discriminant, in words, or None where it can."""
    features = examples.features.shape[1]
    if features > MOST_FEATURES:
        return f"there are {features:,} features, more than {MOST_FEATURES:,}"
    return "a class has a single image to learn from" if _fewest(examples.labels) < 2 else None


def choose_mixture(examples: Examples, strength: float, shares: Sequence[float], seed: int) -> Mixture:
    """Return the mixture, of some shares, whose calibrated cross-entropy on held-out folds is the lowest.

    Parameters
    ----------
    examples : of which `no_discriminant` says nothing.
    strength : as in `Mixture`.
    shares : to choose from, each from 0 to 1.
    seed : of the folds.
    """
    logits, temperatures = [], []
    for of_one in held_out_logits(examples, strength, seed):
        temperatures.append(fit_temperature(of_one, examples.labels))
        logits.append(of_one / temperatures[-1])

    def loss(share: float) -> float:
        mean = (1 - share) * logits[0] + share * logits[1]
        temperature = fit_temperature(mean, examples.labels)
        return cross_entropy(softmax(mean / temperature), examples.labels)

    return Mixture(strength, min(shares, key=loss), tuple(temperatures))


def held_out_losses(examples: Examples, seed: int) -> np.ndarray:
    """Return the cross-entropy of each of `STRENGTHS`, in nats, float64 array, as the mean over held-out folds.

    A class with fewer images than `FOLDS` makes the folds fewer.

    Parameters
    ----------
    examples : each class has two images or more.
    seed : of the folds.
    """
    features, labels = examples.features, examples.labels

    def losses(train: np.ndarray, held_out: np.ndarray) -> list[float]:
        heads = _regressions(features[train], labels[train], STRENGTHS)
        return [cross_entropy(softmax(head.logits(features[held_out])), labels[held_out]) for head in heads]

    # The limit is the process's: set in each thread, one would lift it for the others.
    with _one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.mean(list(threads.map(lambda part: losses(*part), _folds(labels, seed))), axis=0)


def held_out_logits(examples: Examples, strength: float, seed: int) -> np.ndarray:
    """Return what regression and discriminant, fitted to the other folds, give for the images of each.

    Parameters
    ----------
    examples, strength, seed : as for `choose_mixture`; the folds are those of `held_out_losses`.

    Returns
    -------
    numpy.ndarray
        Logits, float32 (2, images, classes): of the images as they are, not of their views.
    """
    logits = np.empty((2, len(examples.labels), examples.classes), np.float32)

    def hold_out(train: np.ndarray, held_out: np.ndarray) -> None:
        learnt = examples.of(train)
        for found, head in zip(logits, (_regression(learnt, strength), _discriminant(learnt)), strict=True):
            found[held_out] = head.logits(examples.features[held_out])

    with _one_blas_thread(), _no_word_of_single_rows(), ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda part: hold_out(*part), _folds(examples.labels, seed)))
    return logits


def _folds(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    folds = min(FOLDS, _fewest(labels))
    return StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)


def _fewest(labels: np.ndarray) -> int:
    return int(np.bincount(labels).min())


def _regression(examples: Examples, strength: float) -> Head:
    rows, labels, rows_of_an_image = examples.rows()
    return next(_regressions(rows, labels, [strength / rows_of_an_image]))


def _regressions(features: np.ndarray, labels: np.ndarray, strengths: Sequence[float]) -> Iterator[Head]:
    """Yield the head that L-BFGS finds at each strength, every search starting where the one before ended.

    The features are centred, and all divided by one number, which makes their mean variance 1: a strength then means
    the same for every backbone. Their variances are left to differ: what a backbone hardly varies is noise more often
    than not, which dividing each feature by its own deviation would magnify (measured: docs/accuracy.md). Both steps
    are folded into the weights, so that heads take features as they are (Kornblith et al. 2019, arXiv 1805.08974, use
    this classifier to compare backbones).
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scaled = features - mean
    # Of features that never change, the scale says nothing.
    scale = np.float32(np.sqrt(np.einsum("if,if->", scaled, scaled, dtype=np.float64) / scaled.size)) or np.float32(1)
    scaled /= scale
    model = LogisticRegression(max_iter=MAX_ITERATIONS, tol=TOLERANCE, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength).fit(scaled, labels)
        kernel = model.coef_.T / scale
        yield _linear(kernel, model.intercept_ - mean @ kernel)


def _discriminant(examples: Examples) -> Head:
    """Return the head of Gaussians, one for each class, with one covariance, shrunk towards a sphere.

    Friedman 1989, "Regularized Discriminant Analysis", JASA 84, has the shrinkage.
    """
    rows, labels, _ = examples.rows()
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE).fit(rows, labels)
    return _linear(model.coef_.T, model.intercept_)


def _linear(kernel: np.ndarray, bias: np.ndarray) -> Head:
    if kernel.shape[1] == 1:
        # Of two classes scikit-learn fits the second's logit only.
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.concatenate([-bias / 2, bias / 2])
    return linear(kernel.astype(np.float32), bias.astype(np.float32))


def _one_blas_thread() -> threadpool_limits:
    """Return a context with one BLAS thread: more are slower on small matrices, and change the last bits."""
    return threadpool_limits(1, "blas")


@contextmanager
def _no_word_of_single_rows() -> Iterator[None]:
    """Silence scikit-learn's warning of a class with a single row: its variance of 0 is one of several classes'."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample available")
        yield
