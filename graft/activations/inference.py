"""The one inference loop: images and their views through a compiled network, each computed once."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from graft.activations.litert import Network
from graft.activations.store import Store, namespace_of
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.core.threads import in_order
from graft.images import augmentation, loader

# Maps are only trained on: half precision keeps 11 bits of each value, and half the disk. Features are kept whole.
DTYPES = {"map": np.dtype(np.float16), "features": np.dtype(np.float32)}
RECORDS_A_TRANSACTION = 128
ROWS_AT_ONCE = 256


class Request(NamedTuple):
    """One view of one image file: its path, the SHA-256 of its bytes, the view's number (0: the image as it is)."""

    path: Path
    sha256: str
    view: int = 0


@dataclass(frozen=True)
class Pixels:
    """How an image file becomes what the network sees.

    Attributes
    ----------
    size : pixels on each side.
    resize : of params.yaml.
    augment : settings of `augment.view`, for views other than 0.
    """

    size: int
    resize: str
    augment: Mapping[str, object] | None = None

    def views(self, path: Path, sha256: str, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the views of those numbers, each uint8 (size, size, 3), reading the file once."""
        image = loader.read(path, self.size, self.resize)
        base = augmentation.extended(self._base(image)) if any(numbers) else None
        for number in numbers:
            if number == 0:
                yield np.asarray(loader.resized(image, self.size, self.resize))
            else:
                rng = augmentation.generator(sha256, number, self.augment)
                yield augmentation.view(base, self.size, rng, self.augment)

    def _base(self, image: Image.Image) -> Image.Image:
        """Return the picture that views are drawn from."""
        if self.resize == "crop_or_pad":
            # What is not scaled cannot be sampled more finely either.
            return loader.resized(image, self.size, self.resize)
        size = augmentation.base_size(self.size)
        if self.resize == "crop" and self.augment.get("crop_jitter"):
            return loader.with_shorter_side(image, size)
        return loader.resized(image, size, self.resize)


class Activations:
    """What a chain of compiled networks gives for images and views: from the store where it is, else computed.

    Parameters
    ----------
    network : a trunk, or a trunk and its pooled top.
    outputs : what each network of the chain gives: "map", "features".
    pixels : what the network sees of a file.
    store : where activations are kept.
    """

    def __init__(self, network: Network, outputs: Sequence[str], pixels: Pixels, store: Store):
        self._network = network
        self._outputs = tuple(outputs)
        self._pixels = pixels
        self._store = store
        views = pixels.augment and augmentation.identity(pixels.augment)
        settings = json.dumps([augmentation.VERSION, views], sort_keys=True)
        self._settings = hashlib.sha256(settings.encode()).hexdigest()
        self._namespaces = {output: self._namespace(output) for output in self._outputs}

    def _namespace(self, output: str) -> str:
        identity = {
            "output": output,
            "networks": "-".join(self._network.sha256[: self._outputs.index(output) + 1]),
            "size": str(self._pixels.size),
            "resize": self._pixels.resize,
            "loader": loader.VERSION,
            "engine": f"LiteRT {version('ai-edge-litert')}",
            "dtype": str(DTYPES[output]),
        }
        namespace = namespace_of(identity)
        self._store.describe(namespace, identity)
        return namespace

    def _key(self, request: Request) -> str:
        return f"{request.sha256}/{request.view}/{self._settings}" if request.view else request.sha256

    def fill(self, requests: Sequence[Request]) -> int:
        """Compute the last output where the store lacks it, with a progress bar; return how many views that were.

        What comes on the way is kept too, for others to find.

        Raises
        ------
        GraftError
            If a file is no readable image, or its last output is beyond what the type holds.
        """
        keys = {self._key(request): request for request in requests}
        found = self._store.contains_many(self._namespaces[self._outputs[-1]], keys)
        missing = [request for key, request in keys.items() if key not in found]
        bar = tqdm(
            self._computed(missing), "views", len(missing), unit="", leave=False, disable=None if missing else True
        )
        for _, outputs in bar:
            _held(outputs, self._outputs[-1])
        return len(missing)

    def read(self, output: str, requests: Sequence[Request]) -> np.ndarray:
        """Return one output for all requests, in their order: array (requests, ...) of `DTYPES[output]`.

        What the store lacks, or had and lost, is computed; it raises what `fill` does.
        """
        keys = [self._key(request) for request in requests]
        found = self._store.get_many(self._namespaces[output], keys)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        for request, outputs in self._computed(list(missing.values())):
            found[self._key(request)] = _held(outputs, output)
        return np.stack([found[key] for key in keys])

    def _computed(self, requests: list[Request]) -> Iterator[tuple[Request, dict[str, np.ndarray]]]:
        # All views of an image come from one reading of its file.
        by_image = [list(views) for _, views in groupby(sorted(requests), key=lambda request: request.sha256)]
        pending: list[tuple[Request, dict[str, np.ndarray]]] = []
        for results in in_order(self._compute, by_image):
            pending += results
            if len(pending) >= RECORDS_A_TRANSACTION:
                self._put(pending)
                pending = []
            yield from results
        self._put(pending)

    def _compute(self, requests: list[Request]) -> list[tuple[Request, dict[str, np.ndarray]]]:
        path, sha256, _ = requests[0]
        views = self._pixels.views(path, sha256, [request.view for request in requests])
        return [
            (request, _narrowed(dict(zip(self._outputs, self._network(view), strict=True))))
            for request, view in zip(requests, views, strict=True)
        ]

    def _put(self, results: list[tuple[Request, dict[str, np.ndarray]]]) -> None:
        for output, namespace in self._namespaces.items():
            held = {self._key(request): outputs[output] for request, outputs in results if output in outputs}
            self._store.put_many(namespace, held)


def image_requests(files: Sequence[Path], sha256: Sequence[str]) -> list[Request]:
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
    # Not through a memory map: where the disk is full, the system ends a process that writes to one.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(requests), ROWS_AT_ONCE):
            file.write(activations.read("features", requests[start : start + ROWS_AT_ONCE]).tobytes())


def frozen_activations(outputs: Sequence[str], augment: Mapping[str, object], store: Store) -> Activations:
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


def _narrowed(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs in the types of `DTYPES`, without those that these do not hold."""
    with np.errstate(over="ignore"):
        narrow = {name: array.astype(DTYPES[name]) for name, array in outputs.items()}
    return {name: array for name, array in narrow.items() if np.isfinite(array).all()}


def _held(outputs: dict[str, np.ndarray], output: str) -> np.ndarray:
    if output not in outputs:
        raise GraftError(
            f"fine_tune.from_layer: values of the {output} are beyond what {DTYPES[output]} holds; choose another layer"
        )
    return outputs[output]
