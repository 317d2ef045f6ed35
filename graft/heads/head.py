"""A classifier on the frozen backbone's features, and its file. This module does not import TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
from scipy.special import expit

from graft.core.errors import GraftError
from graft.settings.pooling import pool_array

# A layer's kernel, float32 (inputs, outputs), and bias, float32 (outputs,).
Dense = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Head:
    """A classifier on features: dense layers, with or without a squeeze-and-excitation block before them.

    The block multiplies each channel of a feature map by a weight from 0 to 1, which it computes from the means of all
    channels (Hu et al. 2018, "Squeeze-and-Excitation Networks", arXiv 1709.01507).

    Attributes
    ----------
    kind : linear, mlp or se.
    dense : the dense layers. ReLU follows each but the last, which gives the logits.
    block : the block's two layers: channels to bottleneck, with ReLU, and back, with sigmoid. Empty without a block.
    pooling : how the block's output becomes features, a key of `settings.pooling.POOLINGS`.
    """

    kind: str
    dense: tuple[Dense, ...]
    block: tuple[Dense, ...] = ()
    pooling: str = "none"

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return float32 array (images, classes).

        Parameters
        ----------
        features : float32 array (images, features), or feature maps (images, height, width, channels). A head without
            a block flattens the maps.
        """
        if self.block:
            features = pool_array(_squeeze_and_excite(features, *self.block), self.pooling)
        outputs = features.reshape(len(features), -1)
        for kernel, bias in self.dense[:-1]:
            outputs = np.maximum(outputs @ kernel + bias, 0)
        kernel, bias = self.dense[-1]
        return outputs @ kernel + bias

    def at_temperature(self, temperature: float) -> "Head":
        """Return a head that gives these logits divided by `temperature`, which is above 0."""
        kernel, bias = self.dense[-1]
        last = (kernel / np.float32(temperature), bias / np.float32(temperature))
        return replace(self, dense=(*self.dense[:-1], last))

    def save(self, path: Path, classes: Sequence[str]) -> None:
        """Write the head to an .npz file. The same head gives the same bytes under any version of Python.

        Parameters
        ----------
        path : the file.
        classes : names of the classes, in the order of the logits.
        """
        arrays = {"kind": np.array(self.kind), "pooling": np.array(self.pooling), "classes": np.array(classes)}
        for name in ("block", "dense"):
            for number, (kernel, bias) in enumerate(getattr(self, name)):
                arrays |= {f"{name}_{number}_kernel": kernel, f"{name}_{number}_bias": bias}
        # Not numpy.savez: it marks each array as a large file, and Python 3.11.4 changed the header of large files.
        with ZipFile(path, "w") as file:
            for name, array in arrays.items():
                content = BytesIO()
                np.save(content, array)
                file.writestr(ZipInfo(f"{name}.npy"), content.getvalue())


def linear(kernel: np.ndarray, bias: np.ndarray) -> Head:
    """Return the head whose logits are ``features @ kernel + bias``: float32 (features, classes) and (classes,)."""
    return Head("linear", ((kernel, bias),))


def read_head(path: Path) -> tuple[Head, tuple[str, ...]]:
    """Return the head that `Head.save` wrote, and the names of its classes in the order of the logits.

    Raises
    ------
    GraftError
        If the file does not exist.
    """
    if not path.is_file():
        raise GraftError(f"{path}: no such file; `dvc repro` writes it")
    with np.load(path) as arrays:
        layers: dict[str, list[Dense]] = {"block": [], "dense": []}
        for name, found in layers.items():
            while f"{name}_{len(found)}_kernel" in arrays:
                found.append((arrays[f"{name}_{len(found)}_kernel"], arrays[f"{name}_{len(found)}_bias"]))
        head = Head(str(arrays["kind"]), tuple(layers["dense"]), tuple(layers["block"]), str(arrays["pooling"]))
        return head, tuple(arrays["classes"].tolist())


def _squeeze_and_excite(maps: np.ndarray, squeeze: Dense, excite: Dense) -> np.ndarray:
    means = maps.mean(axis=(1, 2))  # (images, height, width, channels) -> (images, channels)
    weights = expit(np.maximum(means @ squeeze[0] + squeeze[1], 0) @ excite[0] + excite[1])
    return maps * weights[:, np.newaxis, np.newaxis]
