"""Classifiers on the frozen backbone's features, whoever trained them; TensorFlow is never imported."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from stages.parts.scores import PROBABILITY_FLOOR, cross_entropy

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
        """Write it to an .npz file, the same bytes each time, under any version of Python."""
        arrays = {"kind": np.array(self.kind), "pooling": np.array(self.pooling)}
        for name in ("block", "dense"):
            for number, (kernel, bias) in enumerate(getattr(self, name)):
                arrays |= {f"{name}_{number}_kernel": kernel, f"{name}_{number}_bias": bias}
        # Not by numpy.savez: it announces each array as a large one, and Python 3.11.4 changed the header of those.
        with ZipFile(path, "w") as file:
            for name, array in arrays.items():
                content = BytesIO()
                np.save(content, array)
                file.writestr(ZipInfo(f"{name}.npy"), content.getvalue())


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
    """Return the temperature, from 0.01 to 100, by which to divide logits so that their probabilities are calibrated.

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

    bound = np.log(100)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))
