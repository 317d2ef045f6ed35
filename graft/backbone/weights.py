"""The weights of a newly built network, random or from a file, and stable names for its layers."""

import re
import subprocess
import sys
import warnings
import zlib
from collections import defaultdict
from operator import itemgetter
from pathlib import Path

import h5py
import keras
import numpy as np

from graft.backbone import hdf5_check, slim_checkpoint
from graft.core.errors import GraftError

SUFFIXES = (".h5", ".hdf5", ".keras")
# A release of keras-applications added up the groups of ResNeXt by a convolution with constant weights of this name.
CONSTANT = "_2_gconv"
CHECK_SECONDS = 60
CHECKED_BYTES_A_SECOND = 10**7


def draw_weights(model: keras.Model) -> None:
    """Set every kernel to random values that depend on the model's name alone; other weights do not change.

    The values are normal with variance 2 / fan-in (He et al. 2015, arXiv 1502.01852), so that activations keep their
    size from layer to layer. The fan-in of a depthwise kernel is its height times its width, and times its multiplier:
    ResNeXt adds up so many of its outputs.
    """
    generator = np.random.default_rng(zlib.crc32(model.name.encode()))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Wrapper):
            draw_weights(layer.layer)
            continue
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel"):
            # The attribute of a SeparableConv2D is `depthwise_kernel`, that of a DepthwiseConv2D is `kernel`.
            kernel = getattr(layer, name, None)
            if kernel is not None:
                depthwise = name == "depthwise_kernel" or type(layer).__name__ == "DepthwiseConv2D"
                fan_in = np.prod(np.delete(kernel.shape, 2 if depthwise else -1))
                kernel.assign(generator.standard_normal(kernel.shape, np.float32) * np.float32((2 / fan_in) ** 0.5))


def draw_nested_weights(model: keras.Model) -> None:
    """Set every weight with two or more axes to random values that depend on the model's name alone.

    As `draw_weights`, but also inside of layers that consist of layers.
    """
    generator = np.random.default_rng(zlib.crc32(model.name.encode()))
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            # Depthwise kernels have one output for each channel.
            fan_in = np.prod(weight.shape[:2] if weight.shape[-1] == 1 else weight.shape[:-1])
            weight.assign(generator.standard_normal(weight.shape, np.float32) * np.float32((2 / fan_in) ** 0.5))


def load_weights(model: keras.Model, path: str | Path, top: str = "without") -> None:
    """Read the weights of a model from a Keras file or a TF-slim checkpoint.

    Parameters
    ----------
    model : changed in place.
    path : of a `.h5`, `.weights.h5`, `.hdf5` or `.keras` file, or of a checkpoint as `slim_checkpoint.load` takes it.
    top : ``with`` or ``without``: whether the model has its classification layers, for the error message.

    Raises
    ------
    GraftError
        If there is no such file, it is damaged, or it has the weights of another network, or only some of this one's.
    """
    read = slim_checkpoint.load if slim_checkpoint.is_checkpoint(path) else _read_keras_file
    if read is _read_keras_file:
        _require_keras_file(path)
    # To find weights that are not in the file: Keras does not change those, and warns at most.
    for weight in model.weights:
        weight.assign(np.full(weight.shape, np.nan, np.float32))
    try:
        read(model, path)
        _require_finite(model)
    # Keras raises what it meets on the way: TypeError, AttributeError, UnicodeError ... for names of other types.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise GraftError(f"weights: {path} does not hold the weights of {model.name} {top} top ({reason})") from error


def _require_keras_file(path: str | Path) -> None:
    if not Path(path).is_file() or not str(path).endswith(SUFFIXES):
        fault = "is no Keras weights file" if Path(path).exists() else "is no file"
        raise GraftError(
            f"weights: {path} {fault}; give imagenet, none, or a Keras .h5, .weights.h5 or .keras file, or a .ckpt of "
            "TF-slim"
        )
    _check_file(path)


def _read_keras_file(model: keras.Model, path: str | Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # By their order, Keras would not notice that two layers of the same shape have changed places.
        options = {"by_name": True} if _names_the_layers_of(model, path) else {}
        model.load_weights(path, **options)


def _check_file(path: str | Path) -> None:
    """Read all of a file in a process of its own: what is damaged may hang or crash HDF5, or take all memory."""
    limit = CHECK_SECONDS + Path(path).stat().st_size / CHECKED_BYTES_A_SECOND
    try:
        subprocess.run(
            [sys.executable, "-I", hdf5_check.__file__, path],
            check=True, capture_output=True, text=True, errors="replace", timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        reason = f"not read in {limit:.0f} s"
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        reason = lines[-1] if lines and error.returncode == 1 else f"reading it crashes, status {error.returncode}"
    else:
        return
    raise GraftError(f"weights: {path} is damaged, or not of Keras ({reason}); get the file again")


def _names_the_layers_of(model: keras.Model, path: str | Path) -> bool:
    """Return whether a file in Keras's older format has exactly the layers with weights that the model has."""
    if str(path).endswith((".weights.h5", ".keras")):
        return False
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        found = {name for name in group if any(map(len, _weight_names(group[name]))) and not name.endswith(CONSTANT)}
    return found == {layer.name for layer in model.layers if layer.weights}


def _weight_names(group: h5py.Group) -> list[np.ndarray]:
    # Keras divides a long list into several attributes: weight_names0, weight_names1 ...
    return [names for key, names in group.attrs.items() if key.startswith("weight_names")]


def _require_finite(model: keras.Model) -> None:
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            raise ValueError(f"no finite values for {weight.path}")


def number_names(model: keras.Model) -> keras.Model:
    """Give layers with automatic names the numbers of a fresh session: conv2d, conv2d_1, ...; return the model.

    Keras counts in each process: without this, a name would depend on what the process built before.
    """
    groups = defaultdict(list)
    for operation in model.operations:
        prefix, number = re.findall(r"\A(.+?)(?:_(\d+))?\Z", operation.name)[0]
        if type(operation).__name__ == "InputLayer":
            operation.name = "input_layer"
        elif prefix.replace("_", "") == type(operation).__name__.lower():
            groups[prefix].append((int(number or 0), operation))
    for prefix, numbered in groups.items():
        for rank, (_, operation) in enumerate(sorted(numbered, key=itemgetter(0))):
            operation.name = f"{prefix}_{rank}" if rank else prefix
    return model
