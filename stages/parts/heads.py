"""Classifiers on the frozen backbone's features, and the one that scikit-learn fits; TensorFlow is never imported."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
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


# A layer's kernel, float32 (inputs, outputs), and bias, float32 (outputs,).
Dense = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Head:
    """A classifier on features: dense layers, behind a squeeze-and-excitation block where it has one.

    The block multiplies each channel of a feature map with a weight between 0 and 1 that follows from the means of all
    channels (Hu et al. 2018, "Squeeze-and-Excitation Networks", arXiv 1709.01507).

    Attributes
    ----------
    kind : linear, mlp or se.
    dense : each layer; ReLU follows all but the last, which gives the logits.
    block : the block's two layers, channels to bottleneck and back, with ReLU and sigmoid; or nothing.
    pooling : how the map that the block has weighed becomes features, a key of `POOLINGS`.
    """

    kind: str
    dense: tuple[Dense, ...]
    block: tuple[Dense, ...] = ()
    pooling: str = "none"

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return float32 array (images, classes).

        Parameters
        ----------
        features : float32 array (images, features), or maps (images, height, width, channels), which a head without
            a block takes flattened.
        """
        if self.block:
            features = POOLINGS[self.pooling](_weighed(features, *self.block))
        outputs = features.reshape(len(features), -1)
        for kernel, bias in self.dense[:-1]:
            outputs = np.maximum(outputs @ kernel + bias, 0)
        kernel, bias = self.dense[-1]
        return outputs @ kernel + bias

    def at_temperature(self, temperature: float) -> "Head":
        """Return the head whose logits are these divided by `temperature`, above 0."""
        kernel, bias = self.dense[-1]
        last = (kernel / np.float32(temperature), bias / np.float32(temperature))
        return replace(self, dense=(*self.dense[:-1], last))

    def save(self, path: Path) -> None:
        """Write it to an .npz file, the same bytes each time."""
        arrays = {"kind": np.array(self.kind), "pooling": np.array(self.pooling)}
        for name in ("block", "dense"):
            for number, (kernel, bias) in enumerate(getattr(self, name)):
                arrays |= {f"{name}_{number}_kernel": kernel, f"{name}_{number}_bias": bias}
        np.savez(path, **arrays)


def linear(kernel: np.ndarray, bias: np.ndarray) -> Head:
    """Return the head whose logits are ``features @ kernel + bias``: float32 (features, classes) and (classes,)."""
    return Head("linear", ((kernel, bias),))


def read(path: Path) -> Head:
    """Read what `Head.save` wrote."""
    with np.load(path) as arrays:
        layers: dict[str, list[Dense]] = {"block": [], "dense": []}
        for name, found in layers.items():
            while f"{name}_{len(found)}_kernel" in arrays:
                found.append((arrays[f"{name}_{len(found)}_kernel"], arrays[f"{name}_{len(found)}_bias"]))
        return Head(str(arrays["kind"]), tuple(layers["dense"]), tuple(layers["block"]), str(arrays["pooling"]))


def _weighed(maps: np.ndarray, squeeze: Dense, excite: Dense) -> np.ndarray:
    means = maps.mean(axis=(1, 2))  # (images, height, width, channels) -> (images, channels)
    weights = expit(np.maximum(means @ squeeze[0] + squeeze[1], 0) @ excite[0] + excite[1])
    return maps * weights[:, np.newaxis, np.newaxis]


POOLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "avg": lambda maps: maps.mean(axis=(1, 2)),
    "max": lambda maps: maps.max(axis=(1, 2)),
    "avg+max": lambda maps: np.concatenate([maps.mean(axis=(1, 2)), maps.max(axis=(1, 2))], axis=1),
    "none": lambda maps: maps,
}


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of each row, float64 array of the same shape (..., classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, from 1/20 to 20, by which to divide logits so that their probabilities are calibrated.

    It has the lowest cross-entropy (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599),
    with one label in n + 1 spread over all classes: else a few images, all of them right, would make it as sure as the
    bounds allow (Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2, has the like).

    Parameters
    ----------
    logits : float array (images, classes), of images that the classifier was not trained on; or (images, squares,
        classes), where an image's probabilities are the mean over its squares.
    labels : int array (images,).
    """
    doubt = 1 / (len(labels) + 1)
    squares = logits.reshape(len(logits), -1, logits.shape[-1])

    def loss(log_temperature: float) -> float:
        shares = probabilities(squares / np.exp(log_temperature)).mean(axis=1)
        spread = -np.log(np.maximum(shares, PROBABILITY_FLOOR)).mean()
        return (1 - doubt) * cross_entropy(shares, labels) + doubt * float(spread)

    bound = np.log(20)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def fit_linear(features: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> Head:
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


def _fitted_path(features: np.ndarray, labels: np.ndarray, classes: int, strengths: Sequence[float]) -> Iterator[Head]:
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


def _folded(model: "LogisticRegression", mean: np.ndarray, scale: np.ndarray) -> Head:
    kernel, bias = model.coef_.T / scale[:, np.newaxis], model.intercept_
    if kernel.shape[1] == 1:
        # Of two classes scikit-learn fits the second's logit only.
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.concatenate([-bias / 2, bias / 2])
    return linear(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32))
