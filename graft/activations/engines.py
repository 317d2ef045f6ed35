"""What runs the compiled frozen network over images: the one interface, and the table of `extract.engine`.

An engine takes requests and yields rows: each request with its outputs, or with the reason why its image cannot be
read. It never looks into the store, and never writes there: `inference.Activations` does, under the content key of each
request, in a namespace that has the engine's name. So the store is the checkpoint of a long run, whatever computes.

To add an engine, write a class with what `Engine` has, and add a line to `ENGINES`, a name to `extract.engine` in
graft/settings/extract.py, and its meaning to params.yaml.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from graft.activations.litert import Network
from graft.activations.requests import Pixels, Request, Row, by_image, rows_of_image
from graft.core import paths
from graft.core.threads import in_order
from graft.settings.extract import Extract

# The compiled network of each output; the input of one is the output of the one before.
NETWORKS = {"map": paths.TRUNK, "features": paths.TOP}
# In whole numbers of 8 bits, which the stage extract compiles.
INT8_NETWORKS = {"map": paths.TRUNK_INT8, "features": paths.TOP_INT8}
# What a driver shows where there may be a GPU: NVIDIA's (in Windows too), AMD's.
GPU_FILES = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))

# Builds the network for TensorFlow: of outputs and a precision, as `graft.backbone.frozen.feature_network` does.
Build = Callable[[Sequence[str], str], Callable[[Any], Any]]


class Engine(Protocol):
    """A compiled frozen network over image requests.

    Attributes
    ----------
    engine : what the numbers depend on besides the network: the library with its version, the precision, the device.
    sha256 : of each compiled network of the chain, one for each output.
    """

    engine: str
    sha256: Sequence[str]

    def rows(self, outputs: Sequence[str], pixels: Pixels, requests: Iterable[Request]) -> Iterator[Row]:
        """Yield each request with its outcome.

        The order is that of the images' first requests; all requests of an image come together. Without requests
        nothing is started.

        Parameters
        ----------
        outputs : the name of the output of each network.
        pixels : how a file becomes the network's input.
        requests : each once.
        """
        ...


class InThreads:
    """A network for one image at a time, in the threads of this process.

    Parameters
    ----------
    network : such as `litert.Network`; several threads call it at once.
    engine : its name, if it is another than that of the network.
    """

    def __init__(self, network: Any, engine: str | None = None) -> None:
        self._network: Callable[[np.ndarray], Sequence[np.ndarray]] = network
        self.engine: str = engine or network.engine
        self.sha256: Sequence[str] = network.sha256

    def rows(self, outputs: Sequence[str], pixels: Pixels, requests: Iterable[Request]) -> Iterator[Row]:
        """Yield each request with its outcome, as `Engine` says."""

        def compute(of_image: list[Request]) -> list[Row]:
            return rows_of_image(self._network, outputs, pixels, of_image)

        for rows in in_order(compute, by_image(requests)):
            yield from rows


class Choice(NamedTuple):
    """A value of `extract.engine`.

    Attributes
    ----------
    named : returns the engine's name, `Engine.engine`.
    opened : returns the engine.
    """

    named: Callable[[Extract], str]
    opened: Callable[[Sequence[Path], Sequence[str], Extract, Build | None], Engine]


def _tensorflow(files: Sequence[Path], outputs: Sequence[str], settings: Extract, build: Build | None) -> Engine:
    from graft.activations.tensorflow_engine import TensorFlow

    if build is None:
        raise ValueError("the engine tensorflow needs a function that builds the network")
    return TensorFlow(files, lambda: build(outputs, settings.precision), settings)


def _name_of_tensorflow(settings: Extract) -> str:
    from graft.activations.tensorflow_engine import engine_of

    return engine_of(settings)


def _name_of_litert(settings: Extract) -> str:
    return Network.engine if settings.precision == "float32" else f"{Network.engine}, {settings.precision}"


def _litert(files: Sequence[Path], _: Sequence[str], settings: Extract, _build: Build | None) -> Engine:
    return InThreads(Network(*files), _name_of_litert(settings))


def _name_of_ray(settings: Extract) -> str:
    # Not the name of litert: another kind of processor may round otherwise.
    return f"{_name_of_litert(settings)} on Ray"


def _ray(files: Sequence[Path], _: Sequence[str], settings: Extract, _build: Build | None) -> Engine:
    from graft.activations.ray_engine import OnRay

    return OnRay(files, _name_of_ray(settings))


ENGINES = {
    "litert": Choice(_name_of_litert, _litert),
    "tensorflow": Choice(_name_of_tensorflow, _tensorflow),
    "ray": Choice(_name_of_ray, _ray),
}


def networks(settings: Extract, outputs: Sequence[str]) -> list[Path]:
    """Return the file of the compiled network of each output."""
    files = INT8_NETWORKS if settings.precision == "int8" else NETWORKS
    return [files[output] for output in outputs]


def open_engine(settings: Extract, outputs: Sequence[str], build: Build | None = None) -> Engine:
    """Return the engine that `extract.engine` names, for the frozen backbone in data/backbone.

    Parameters
    ----------
    settings : `extract` of params.yaml.
    outputs : ("map",) at the cut, or ("map", "features").
    build : for the engine tensorflow; called only where something is to be computed by it.

    Raises
    ------
    GraftError
        If a file is missing or not a compiled network, or the engine's package is not installed.
    """
    return ENGINES[_chosen(settings)].opened(networks(settings, outputs), outputs, settings, build)


def in_metrics(settings: Extract) -> dict[str, str]:
    """Return what metrics have about the engine that `open_engine` opens: its name; nothing of litert in float32."""
    name = _chosen(settings)
    if name == "litert" and settings.precision == "float32":
        return {}
    return {"engine": ENGINES[name].named(settings)}


def _chosen(settings: Extract) -> str:
    # Whole numbers are for LiteRT, on a machine with a GPU too.
    if settings.engine == "auto" and settings.precision == "int8":
        return "litert"
    return engine_name(settings.engine)


def engine_name(setting: str, gpu_files: Sequence[Path] = GPU_FILES) -> str:
    """Return the name in `ENGINES` of a value of `extract.engine`; auto is tensorflow where that sees a GPU.

    TensorFlow, which takes seconds to import, is asked only where a driver shows one of the `gpu_files`.
    """
    if setting != "auto":
        return setting
    if not any(path.exists() for path in gpu_files):
        return "litert"
    from graft.activations.tensorflow_engine import gpu_names

    return "tensorflow" if gpu_names() else "litert"
