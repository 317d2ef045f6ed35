"""What a worker of Ray runs: a block of images through the compiled network. It imports LiteRT, not TensorFlow.

Ray finds this module on the worker's machine: Graft must be installed there, with the same versions.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from graft.activations.litert import Network
from graft.activations.requests import Pixels, Request, Row, rows_of_image
from graft.images import augmentation, loader
from graft.images.decoder import UnreadableImageError

# The requests of one image each, with the content of its file, or why it cannot be read.
Block = Sequence[tuple[Sequence[Request], bytes | UnreadableImageError]]
# The network of this process, by the hashes of its files: a process works for one driver, on one block at a time.
_network: dict[tuple[str, ...], Network] = {}


class OtherVersionsError(Exception):
    """A worker would compute other numbers than that of the driver does."""


def versions() -> dict[str, str]:
    """Return the version of all that the numbers depend on, on this machine, as text by name."""
    try:
        graft = version("graft")
    except PackageNotFoundError:
        graft = "none"
    return {
        "graft": graft,
        "engine": Network.engine,
        "loader": loader.version(),
        "views": str(augmentation.VERSION),
        "numpy": np.__version__,
    }


def run_block(
    models: Sequence[np.ndarray],
    sha256: Sequence[str],
    outputs: Sequence[str],
    pixels: Pixels,
    expected: Mapping[str, str],
    block: Block,
) -> list[Row]:
    """Return the outcome of each request of a block, in order.

    Parameters
    ----------
    models : content of each compiled network, uint8.
    sha256 : of each compiled network.
    outputs : the name of each network's output.
    pixels : how a file becomes the network's input.
    expected : `versions` of the driver.
    block : of images.

    Raises
    ------
    OtherVersionsError
        If the versions here are others.
    """
    if (here := versions()) != dict(expected):
        differing = (name for name in sorted({*expected, *here}) if expected.get(name) != here.get(name))
        raise OtherVersionsError(
            ", ".join(f"{name} is {here.get(name)}, not {expected.get(name)}" for name in differing)
        )
    if tuple(sha256) not in _network:
        _network.clear()
        _network[tuple(sha256)] = Network(*(model.tobytes() for model in models))
    network, rows = _network[tuple(sha256)], []
    for requests, content in block:
        if isinstance(content, bytes):
            rows += rows_of_image(network, outputs, pixels, requests, content)
        else:
            rows += [(request, content) for request in requests]
    return rows
