"""The one inference loop: images and their views through a compiled network, each computed once."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from graft.activations.engines import Build, Engine, open_engine
from graft.activations.requests import DTYPES, Outcome, Pixels, Request, Row, by_image
from graft.activations.store import Key, Store, namespace_of
from graft.core import paths
from graft.core.array_file import write_array
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.core.progress import Progress
from graft.images import augmentation, loader
from graft.images.decoder import UnreadableImageError
from graft.settings.extract import Extract

RECORDS_PER_TRANSACTION = 128
ROWS_AT_ONCE = 256


class Activations:
    """The outputs of a chain of compiled networks for images and views: read from the store, or else computed.

    Parameters
    ----------
    engine : runs a trunk, or a trunk and its pooled top.
    outputs : the name of each network's output: "map", "features".
    pixels : how a file becomes the network's input.
    store : where activations are kept.
    stored : the outputs that are kept there; None for all. The others are computed each time that they are read.
    """

    def __init__(
        self,
        engine: Engine,
        outputs: Sequence[str],
        pixels: Pixels,
        store: Store,
        stored: Sequence[str] | None = None,
    ) -> None:
        self._engine = engine
        self._outputs = tuple(outputs)
        self._pixels = pixels
        self._store = store
        self._stored = self._outputs if stored is None else tuple(stored)
        self._namespaces = {
            (output, of_views): self._namespace(output, of_views)
            for output in self._stored
            for of_views in (False, True)
        }

    def _namespace(self, output: str, of_views: bool) -> str:
        """Return the namespace of an output, for images as they are, or for views with the current settings."""
        identity = {
            "output": output,
            "networks": "-".join(self._engine.sha256[: self._outputs.index(output) + 1]),
            "size": str(self._pixels.size),
            "resize": self._pixels.resize,
            "loader": loader.version(),
            "engine": self._engine.engine,
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

        The outputs of the networks before are stored too. The last output must be one that the store keeps. Of several
        processes with the same network, one at a time computes; the others wait, and find what it has stored.

        Raises
        ------
        UnreadableImageError
            If a file is no readable image; all others are computed and stored before.
        GraftError
            If the last output of an image has values that its type cannot represent.
        """
        return self.fill_blocks([requests])

    def fill_blocks(self, blocks: Iterable[Sequence[Request]]) -> int:
        """Do what `fill` does, with the requests of one block at a time in memory.

        Parameters
        ----------
        blocks : is gone through several times. All requests of an image are in one block, so that it is decoded once.
        """
        if not self._count_missing(blocks):
            return 0
        # The first output is the same for all that use the network, whatever else they compute.
        with self._store.computing(self._namespaces[self._stored[0], False]):
            return self._fill(blocks, self._count_missing(blocks))

    def _count_missing(self, blocks: Iterable[Sequence[Request]]) -> int:
        return sum(len(self._missing(block)) for block in blocks)

    def _fill(self, blocks: Iterable[Sequence[Request]], total: int) -> int:
        unreadable: dict[Path, UnreadableImageError] = {}
        rows = self._computed(self._missing_by_image(blocks)) if total else iter(())
        count = 0
        for request, outcome in Progress(rows, "views", total, quiet=not total):
            count += 1
            if isinstance(outcome, UnreadableImageError):
                unreadable[request.path] = outcome
            else:
                _required(outcome, self._outputs[-1])
        if unreadable:
            raise _all_unreadable(list(unreadable.values()))
        return count

    def _missing_by_image(self, blocks: Iterable[Sequence[Request]]) -> Iterator[Request]:
        for block in blocks:
            missing = self._missing(block)
            for of_image in by_image(missing, max(1, len(missing))):
                yield from of_image

    def _missing(self, requests: Iterable[Request]) -> list[Request]:
        """Return the requests, each once, whose last output the store lacks."""
        wanted = {request.key: request for request in requests}
        found: set[Key] = set()
        for namespace, keys in self._by_namespace(self._outputs[-1], wanted.values()).items():
            found |= self._store.contains_many(namespace, keys)
        return [request for key, request in wanted.items() if key not in found]

    def read(self, output: str, requests: Sequence[Request]) -> np.ndarray:
        """Return one output for all requests, in their order: array (requests, ...) of `DTYPES[output]`.

        What the store lacks, or has lost, is computed. Raises what `fill` raises.
        """
        wanted = {request.key: request for request in requests}
        found: dict[Key, np.ndarray] = {}
        for namespace, keys in self._by_namespace(output, wanted.values()).items():
            found |= self._store.get_many(namespace, keys)
        missing = [request for key, request in wanted.items() if key not in found]
        for request, outcome in self._computed(missing):
            found[request.key] = _required(outcome, output)
        return np.stack([found[request.key] for request in requests])

    def _computed(self, requests: Iterable[Request]) -> Iterator[Row]:
        """Compute the outputs of requests and store them; yield them, or why an image cannot be read."""
        pending: list[tuple[Request, dict[str, np.ndarray]]] = []
        for request, outcome in self._engine.rows(self._outputs, self._pixels, requests):
            if not isinstance(outcome, UnreadableImageError):
                pending.append((request, outcome))
            if len(pending) == RECORDS_PER_TRANSACTION:
                self._put(pending)
                pending = []
            yield request, outcome
        self._put(pending)

    def _put(self, results: Sequence[tuple[Request, dict[str, np.ndarray]]]) -> None:
        for output in self._stored:
            arrays = {request.key: outputs[output] for request, outputs in results if output in outputs}
            for namespace, keys in self._by_namespace(output, (request for request, _ in results)).items():
                self._store.put_many(namespace, {key: arrays[key] for key in keys if key in arrays})

    def _by_namespace(self, output: str, requests: Iterable[Request]) -> dict[str, list[str]]:
        """Return the keys of requests by the namespace that has their output; none of an output that is not stored."""
        keys: dict[str, list[str]] = defaultdict(list)
        if output not in self._stored:
            return keys
        for request in requests:
            keys[self._namespaces[output, request.view > 0]].append(request.key)
        return keys


def write_features(
    activations: Activations,
    requests: Collection[Request],
    shape: Sequence[int],
    path: Path,
    rows_per_file: int | None = None,
) -> None:
    """Write the features of all requests, float32 (requests, *shape), some rows at a time.

    Parameters
    ----------
    activations : give the features.
    requests : gone through once; only some of them are in memory.
    shape : of the features of one request.
    path : of an .npy file, or of a folder with `rows_per_file`, as `core.array_file` says.
    rows_per_file : None writes one file.
    """
    waiting = iter(requests)

    def read(rows: range) -> Iterator[np.ndarray]:
        for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
            yield activations.read("features", list(islice(waiting, min(ROWS_AT_ONCE, rows.stop - start))))

    write_array(path, read, (len(requests), *shape), rows_per_file)


def frozen_activations(
    settings: Extract,
    outputs: Sequence[str],
    augment: Mapping[str, Any],
    store: Store,
    build: Build | None = None,
    stored: Sequence[str] | None = None,
) -> Activations:
    """Return the activations of the frozen backbone in data/backbone.

    Parameters
    ----------
    settings : `extract` of params.yaml.
    outputs : ("map",) at the cut, or ("map", "features").
    augment : settings of the augmented views, as `view_settings` returns them.
    store : where activations are kept.
    build : as for `open_engine`.
    stored : as for `Activations`.
    """
    backbone = read_json(paths.BACKBONE_DESCRIPTION)
    pixels = Pixels(backbone["image_size"], backbone["resize"], augment)
    return Activations(open_engine(settings, outputs, build), outputs, pixels, store, stored)


def _required(outcome: Outcome, output: str) -> np.ndarray:
    if isinstance(outcome, UnreadableImageError):
        raise outcome
    if output not in outcome:
        remedy = "fine_tune.from_layer: values of the {} are beyond what {} holds; choose another layer"
        if output == "features":
            remedy = (
                "extract.precision: the {} have values beyond what the network computes in or {} holds; set float32"
            )
        raise GraftError(remedy.format(output, DTYPES[output]))
    return outcome[output]


def _all_unreadable(errors: Sequence[UnreadableImageError]) -> UnreadableImageError:
    others = len(errors) - 1
    return UnreadableImageError(f"{errors[0]}; and {others} more image files") if others else errors[0]
