"""The one inference loop: images and their views through a compiled network, each computed once."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from graft.activations.litert import Network
from graft.activations.store import Key, Store, namespace_of
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.core.progress import Progress
from graft.core.threads import in_order
from graft.images import augmentation, loader

# Maps are only trained on: half precision keeps 11 bits of each value and takes half the disk. Features stay exact.
DTYPES: dict[str, np.dtype] = {"map": np.dtype(np.float16), "features": np.dtype(np.float32)}
RECORDS_PER_TRANSACTION = 128
ROWS_AT_ONCE = 256


class Request(NamedTuple):
    """One view of one image file: its path, the SHA-256 of its bytes, the view's number (0: the image as it is)."""

    path: Path
    sha256: str
    view: int = 0


@dataclass(frozen=True)
class Pixels:
    """How an image file becomes the network's input.

    Attributes
    ----------
    size : pixels on each side.
    resize : `resize` of params.yaml.
    augment : settings of `augmentation.view`, for views other than 0.
    """

    size: int
    resize: str
    augment: Mapping[str, Any] | Any = None

    def views(self, path: Path, sha256: str, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the views of those numbers, each uint8 (size, size, 3), reading the file once.

        Raises
        ------
        UnreadableImageError
            If the file is missing or no readable image.
        """
        image = loader.read(path, self.size, self.resize)
        if any(numbers):
            base = augmentation.extended(self._base(image))
        for number in numbers:
            if number == 0:
                yield np.asarray(loader.resized(image, self.size, self.resize))
            else:
                rng = augmentation.generator(sha256, number, self.augment)
                yield augmentation.view(base, self.size, rng, self.augment)

    def _base(self, image: Image.Image) -> Image.Image:
        """Return the picture from which views are cut, larger than a view where it can be."""
        if self.resize == "crop_or_pad":
            # This way of resizing does not scale: a larger picture would show more, not finer, detail.
            return loader.resized(image, self.size, self.resize)
        size = augmentation.base_size(self.size)
        if self.resize == "crop" and self.augment.get("crop_jitter"):
            return loader.with_shorter_side(image, size)
        return loader.resized(image, size, self.resize)


def infer(
    network: Network, outputs: Sequence[str], pixels: Pixels, requests: Iterable[Request]
) -> Iterator[tuple[Request, dict[str, np.ndarray]]]:
    """Yield each request with the network's outputs by name, in the types of `DTYPES`, without looking into a store.

    An output that its type cannot represent is left out. The order is that of the images; all views of an image come
    from one reading of its file.
    """
    by_image: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        by_image[request.sha256].append(request)

    def compute(views: list[Request]) -> list[tuple[Request, dict[str, np.ndarray]]]:
        path, sha256, _ = views[0]
        inputs = pixels.views(path, sha256, [request.view for request in views])
        return [
            (request, _in_stored_types(dict(zip(outputs, network(view), strict=True))))
            for request, view in zip(views, inputs, strict=True)
        ]

    for results in in_order(compute, by_image.values()):
        yield from results


class Activations:
    """The outputs of a chain of compiled networks for images and views: read from the store, or else computed.

    Parameters
    ----------
    network : a trunk, or a trunk and its pooled top.
    outputs : the name of each network's output: "map", "features".
    pixels : how a file becomes the network's input.
    store : where activations are kept.
    """

    def __init__(self, network: Network, outputs: Sequence[str], pixels: Pixels, store: Store) -> None:
        self._network = network
        self._outputs = tuple(outputs)
        self._pixels = pixels
        self._store = store
        self._namespaces = {
            (output, of_views): self._namespace(output, of_views) for output in outputs for of_views in (False, True)
        }

    def _namespace(self, output: str, of_views: bool) -> str:
        """Return the namespace of an output, for images as they are, or for views with the current settings."""
        identity = {
            "output": output,
            "networks": "-".join(self._network.sha256[: self._outputs.index(output) + 1]),
            "size": str(self._pixels.size),
            "resize": self._pixels.resize,
            "loader": loader.VERSION,
            "engine": self._network.engine,
            "dtype": str(DTYPES[output]),
        }
        if of_views:
            settings = self._pixels.augment and augmentation.identity(self._pixels.augment)
            identity["views"] = json.dumps([augmentation.VERSION, settings], sort_keys=True)
        namespace = namespace_of(identity)
        self._store.describe(namespace, identity)
        return namespace

    def fill(self, requests: Sequence[Request]) -> int:
        """Compute the last output where the store lacks it, with a progress bar; return how many views that were.

        The outputs of the networks before are stored too.

        Raises
        ------
        GraftError
            If a file is no readable image, or its last output has values that its type cannot represent.
        """
        wanted = {_key(request): request for request in requests}
        found: set[Key] = set()
        for namespace, keys in self._by_namespace(self._outputs[-1], wanted.values()).items():
            found |= self._store.contains_many(namespace, keys)
        missing = [request for key, request in wanted.items() if key not in found]
        for _, outputs in Progress(self._computed(missing), "views", len(missing), quiet=not missing):
            _required(outputs, self._outputs[-1])
        return len(missing)

    def read(self, output: str, requests: Sequence[Request]) -> np.ndarray:
        """Return one output for all requests, in their order: array (requests, ...) of `DTYPES[output]`.

        What the store lacks, or has lost, is computed. Raises what `fill` raises.
        """
        wanted = {_key(request): request for request in requests}
        found: dict[Key, np.ndarray] = {}
        for namespace, keys in self._by_namespace(output, wanted.values()).items():
            found |= self._store.get_many(namespace, keys)
        missing = [request for key, request in wanted.items() if key not in found]
        for request, outputs in self._computed(missing):
            found[_key(request)] = _required(outputs, output)
        return np.stack([found[_key(request)] for request in requests])

    def _computed(self, requests: Iterable[Request]) -> Iterator[tuple[Request, dict[str, np.ndarray]]]:
        """Compute and store the outputs of requests; yield them."""
        pending: list[tuple[Request, dict[str, np.ndarray]]] = []
        for result in infer(self._network, self._outputs, self._pixels, requests):
            pending.append(result)
            if len(pending) == RECORDS_PER_TRANSACTION:
                self._put(pending)
                pending = []
            yield result
        self._put(pending)

    def _put(self, results: Sequence[tuple[Request, dict[str, np.ndarray]]]) -> None:
        for output in self._outputs:
            arrays = {_key(request): outputs[output] for request, outputs in results if output in outputs}
            for namespace, keys in self._by_namespace(output, (request for request, _ in results)).items():
                self._store.put_many(namespace, {key: arrays[key] for key in keys if key in arrays})

    def _by_namespace(self, output: str, requests: Iterable[Request]) -> dict[str, list[str]]:
        """Return the keys of requests by the namespace that has their output."""
        keys: dict[str, list[str]] = defaultdict(list)
        for request in requests:
            keys[self._namespaces[output, request.view > 0]].append(_key(request))
        return keys


def image_requests(files: Sequence[Path], sha256: Iterable[str]) -> list[Request]:
    """Return the requests of images as they are.

    Parameters
    ----------
    files : of the images.
    sha256 : of each file, 64 hexadecimal digits.
    """
    return [Request(path, digest) for path, digest in zip(files, map(str, sha256), strict=True)]


def write_features(activations: Activations, requests: Sequence[Request], shape: Sequence[int], path: Path) -> None:
    """Write the features of all requests as one .npy file, float32 (requests, *shape), some rows at a time."""
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (len(requests), *shape)}
    # Not through a memory map: where the disk is full, the system kills a process that writes to one.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(requests), ROWS_AT_ONCE):
            file.write(activations.read("features", requests[start : start + ROWS_AT_ONCE]).tobytes())


def frozen_activations(outputs: Sequence[str], augment: Mapping[str, Any], store: Store) -> Activations:
    """Return the activations of the frozen backbone in data/backbone.

    Parameters
    ----------
    outputs : ("map",) at the cut, or ("map", "features").
    augment : settings of the augmented views, as `view_settings` returns them.
    store : where activations are kept.
    """
    networks = {"map": paths.TRUNK, "features": paths.TOP}
    backbone = read_json(paths.BACKBONE_DESCRIPTION)
    pixels = Pixels(backbone["image_size"], backbone["resize"], augment)
    return Activations(Network(*(networks[output] for output in outputs)), outputs, pixels, store)


def _key(request: Request) -> str:
    return f"{request.sha256}/{request.view}" if request.view else request.sha256


def _in_stored_types(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs in the types of `DTYPES`, without those whose type cannot represent a value."""
    with np.errstate(over="ignore"):
        stored = {name: array.astype(DTYPES[name]) for name, array in outputs.items()}
    return {name: array for name, array in stored.items() if np.isfinite(array).all()}


def _required(outputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
    if output not in outputs:
        raise GraftError(
            f"fine_tune.from_layer: values of the {output} are beyond what {DTYPES[output]} holds; choose another layer"
        )
    return outputs[output]
