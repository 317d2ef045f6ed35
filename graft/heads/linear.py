"""Fits linear heads: logistic regression, averaged with linear discriminant analysis (LDA) where that helps."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from graft.core.threads import in_order, usable_cpus
from graft.heads import streaming
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import Fold
from graft.heads.head import Head, linear
from graft.heads.lda import Sums, fit_lda, sums
from graft.scores.calibration import fit_temperature
from graft.scores.loss import cross_entropy, softmax

# What `head.C: auto` chooses from, on features of unit scale, and what it is where no image can be held out.
C_VALUES = tuple(10.0 ** np.arange(-5, 1.1, 0.5))
DEFAULT_C = 1e-2
# What `head.lda: auto` chooses from.
LDA_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# The covariance of LDA takes 8 bytes for each pair of features, 134 MB here.
MOST_LDA_FEATURES = 4096
MAX_ITERATIONS = 1000
TOLERANCE = 1e-3
# Rows are read in blocks of about this size.
BLOCK_BYTES = 2 << 20
# Folds are fitted at the same time as long as their rows together are not larger.
PARALLEL_BYTES = 1 << 30

Result = TypeVar("Result")


@dataclass(frozen=True)
class Examples:
    """Images to learn from. Their features are read when they are needed.

    Attributes
    ----------
    features : float32 (images, ...), an array or a FeatureFile. Feature maps are flattened.
    labels : int array (images,), from 0; each of the classes occurs.
    classes : number of classes, from 2.
    views : float32 (images, views, ...), augmented views of the same images; or None.
    """

    features: np.ndarray | FeatureFile
    labels: np.ndarray
    classes: int
    views: np.ndarray | FeatureFile | None = None

    @property
    def size(self) -> int:
        """Return the number of features."""
        return int(np.prod(self.features.shape[1:]))

    @property
    def rows_per_image(self) -> int:
        """Return the number of rows of an image: the image itself and its views."""
        return 1 if self.views is None else 1 + self.views.shape[1]

    def nbytes(self, images: np.ndarray) -> int:
        """Return the bytes that the rows of some images take."""
        return len(images) * self.rows_per_image * self.size * 4

    def rows(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return new arrays with the rows of some images, then those of their views.

        Returns
        -------
        Rows, float32 (rows, features), and their labels, int (rows,).
        """
        count, views = len(images), self.rows_per_image - 1
        rows = np.empty((count * (1 + views), self.size), np.float32)
        of_views = rows[count:].reshape(count, views, self.size)
        # In blocks: the features of all images are in memory once, not twice.
        for block in self.in_blocks(np.arange(count)):
            rows[block] = self.features[images[block]].reshape(len(block), -1)
            if self.views is not None:
                of_views[block] = self.views[images[block]].reshape(len(block), views, self.size)
        return rows, np.concatenate([self.labels[images], self.labels[images].repeat(views)])

    def blocks(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield what `rows` returns, some images at a time."""
        return map(self.rows, self.in_blocks(images))

    def in_blocks(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the images in blocks, each of about `BLOCK_BYTES` of rows."""
        images_per_block = max(1, BLOCK_BYTES // self.nbytes(images[:1])) if len(images) else 1
        return [images[start : start + images_per_block] for start in range(0, len(images), images_per_block)]


class Hyperparameters(NamedTuple):
    """The hyperparameters of a linear head.

    Attributes
    ----------
    C : inverse strength of the L2 penalty of logistic regression, above 0, as in scikit-learn. It is for a fit to the
        images alone; where views add rows, each row counts for less.
    lda : share of LDA in the logits, from 0 to 1; logistic regression has the rest.
    temperatures : of logistic regression and of LDA. Both logits are divided by theirs before they are averaged: each
        classifier is then calibrated.
    """

    C: float
    lda: float = 0.0
    temperatures: tuple[float, float] = (1.0, 1.0)


def fit(examples: Examples, chosen: Hyperparameters, in_memory: bool = True) -> Head:
    """Return the head whose logits are the weighted mean of those of logistic regression and LDA.

    Both are linear, and so is their mean. It multiplies probabilities (a logarithmic opinion pool: Genest & Zidek 1986,
    "Combining Probability Distributions", Statistical Science 1).

    Parameters
    ----------
    examples : of all classes.
    chosen : of `choose_C` and `choose_lda`.
    in_memory : whether all rows may be in memory at once; else they are read again in each step of L-BFGS.
    """
    images, origin = np.arange(len(examples.labels)), _origin(examples)
    with _one_blas_thread():
        heads = [_regression(examples, images, chosen.C) if in_memory else _streamed_regression(examples, chosen.C)]
        if not chosen.lda:
            return heads[0]
        heads.append(_lda(sums(examples.blocks(images), examples.classes, origin), origin))
    weights = np.array([1 - chosen.lda, chosen.lda]) / chosen.temperatures
    kernels, biases = zip(*(head.dense[0] for head in heads), strict=True)
    return linear(*(np.tensordot(weights, arrays, 1).astype(np.float32) for arrays in (kernels, biases)))


def choose_C(examples: Examples, folds: Sequence[Fold]) -> float:  # noqa: N802 - scikit-learn calls it C
    """Return the value of `C_VALUES` with the lowest cross-entropy in cross-validation."""
    return float(C_VALUES[int(cross_validation_losses(examples, folds).argmin())])


def choose_lda(examples: Examples, C: float, shares: Sequence[float], folds: Sequence[Fold]) -> Hyperparameters:
    """Return `C` with the share of LDA, and its temperatures, that have the lowest cross-entropy in cross-validation.

    Parameters
    ----------
    examples : with up to `MOST_LDA_FEATURES` features.
    C : as in `Hyperparameters`.
    shares : to choose from, each from 0 to 1.
    folds : one or more.
    """
    labels = examples.labels[_held_out(folds)]
    logits, temperatures = [], []
    for of_one in cross_validation_logits(examples, C, folds):
        temperatures.append(fit_temperature(of_one, labels))
        logits.append(of_one / temperatures[-1])

    def loss(share: float) -> float:
        mean = (1 - share) * logits[0] + share * logits[1]
        return cross_entropy(softmax(mean / fit_temperature(mean, labels)), labels)

    return Hyperparameters(C, min(shares, key=loss), (temperatures[0], temperatures[1]))


def cross_validation_losses(examples: Examples, folds: Sequence[Fold]) -> np.ndarray:
    """Return the cross-entropy of logistic regression on the held-out images, in nats, for each of `C_VALUES`, float64.

    Only the images as they are count, not their views.
    """
    examples = replace(examples, views=None)

    def losses(fold: Fold) -> list[float]:
        rows, labels = examples.rows(fold.held_out)
        heads = _regressions(*examples.rows(fold.train), C_VALUES)
        return [cross_entropy(softmax(head.logits(rows)), labels) for head in heads]

    found = _in_threads(losses, folds, examples)
    return np.average(found, axis=0, weights=[len(fold.held_out) for fold in folds])


def cross_validation_logits(examples: Examples, C: float, folds: Sequence[Fold]) -> np.ndarray:
    """Return what logistic regression and LDA give for the held-out images when they are fitted to the other images.

    They are fitted to images and views. The logits are of the images as they are.

    Returns
    -------
    numpy.ndarray
        Logits, float32 (2, images, classes), of all images that are held out in a fold, in ascending order.
    """
    logits = np.empty((2, len(examples.labels), examples.classes), np.float32)
    images = _held_out(folds)
    origin = _origin(examples)

    def sums_of(fold: Fold) -> Sums:
        return sums(examples.blocks(fold.held_out), examples.classes, origin)

    def regress(fold: Fold) -> None:
        logits[0, fold.held_out] = _regression(examples, fold.train, C).logits(_features(examples, fold.held_out))

    _in_threads(regress, folds, examples)
    # The sums of a training side are those of all images less those of the fold: each row is read once.
    of_folds = _in_threads(sums_of, folds, examples)
    total = sum(of_folds, sums_of(Fold(images, np.setdiff1d(np.arange(len(examples.labels)), images))))
    for fold, of_fold in zip(folds, of_folds, strict=True):
        logits[1, fold.held_out] = _lda(total - of_fold, origin).logits(_features(examples, fold.held_out))
    return logits[:, images]


def _held_out(folds: Sequence[Fold]) -> np.ndarray:
    return np.sort(np.concatenate([fold.held_out for fold in folds]))


def _features(examples: Examples, images: np.ndarray) -> np.ndarray:
    return examples.features[images].reshape(len(images), -1)


def _origin(examples: Examples) -> np.ndarray:
    return _features(examples, np.array([0]))[0]


def _in_threads(call: Callable[[Fold], Result], folds: Sequence[Fold], examples: Examples) -> list[Result]:
    """Return what each fold gives, in their order; at most `PARALLEL_BYTES` of rows are in memory, or one fold."""
    largest = max(examples.nbytes(fold.train) for fold in folds)
    workers = max(1, min(usable_cpus(), PARALLEL_BYTES // largest))
    # scikit-learn changes the process's warning filters for moments. Threads that do so at the same time can leave them
    # changed, so they are restored here.
    with warnings.catch_warnings(), _one_blas_thread(), ThreadPoolExecutor(workers) as threads:
        return list(threads.map(call, folds))


def _regression(examples: Examples, images: np.ndarray, C: float) -> Head:
    return next(_regressions(*examples.rows(images), [C / examples.rows_per_image]))


def _streamed_regression(examples: Examples, C: float) -> Head:
    blocks = examples.in_blocks(np.arange(len(examples.labels)))

    def each(call: Callable[[np.ndarray, np.ndarray], streaming.Part]) -> Iterator[streaming.Part]:
        return in_order(lambda block: call(*examples.rows(block)), blocks)

    kernel, bias = streaming.regression(
        each, examples.size, examples.classes, C / examples.rows_per_image, MAX_ITERATIONS, TOLERANCE
    )
    return linear(kernel.astype(np.float32), bias.astype(np.float32))


def _regressions(rows: np.ndarray, labels: np.ndarray, C_values: Sequence[float]) -> Iterator[Head]:
    """Yield the head that L-BFGS finds for each C; each search starts from the result of the one before.

    The rows are changed in place: a second copy would double the memory. They are centred and divided by one number, so
    that their mean variance is 1, and C means the same for every backbone. The features keep their different variances:
    a feature that hardly varies is usually noise, and dividing each feature by its own deviation would magnify it
    (measured: docs/accuracy.md). The weights include both steps, so a head takes features as they are (Kornblith et al.
    2019, arXiv 1805.08974, compare backbones by this classifier).
    """
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows -= mean
    # If no feature ever changes, there is nothing to scale.
    scale = np.float32(np.sqrt(np.einsum("if,if->", rows, rows, dtype=np.float64) / rows.size)) or np.float32(1)
    rows /= scale
    model = LogisticRegression(max_iter=MAX_ITERATIONS, tol=TOLERANCE, warm_start=True)
    for C in C_values:
        model.set_params(C=C).fit(rows, labels)
        kernel = model.coef_.T / scale
        bias = model.intercept_ - mean @ kernel
        if kernel.shape[1] == 1:
            # Of two classes scikit-learn fits the second's logit only.
            kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.concatenate([-bias / 2, bias / 2])
        yield linear(kernel.astype(np.float32), bias.astype(np.float32))


def _lda(found: Sums, origin: np.ndarray) -> Head:
    kernel, bias = fit_lda(found, origin)
    return linear(kernel.astype(np.float32), bias.astype(np.float32))


def _one_blas_thread() -> threadpool_limits:
    """Return a context with one BLAS thread: more are slower on small matrices, and change the last bits."""
    return threadpool_limits(1, "blas")
