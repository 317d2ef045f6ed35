"""What a network is asked for, views of image files, and what comes back: arrays, or why there are none."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from graft.images import augmentation, loader
from graft.images.decoder import UnreadableImageError

# Requests that are looked at together: more take time alone, 0.4 KB each.
WINDOW = 50_000
# Maps are only trained on: half precision keeps 11 bits of each value and takes half the disk. Features stay exact.
DTYPES: dict[str, np.dtype] = {"map": np.dtype(np.float16), "features": np.dtype(np.float32)}


class Request(NamedTuple):
    """One view of one image file: its path, the SHA-256 of its bytes, the view's number (0: the image as it is)."""

    path: Path
    sha256: str
    view: int = 0

    @property
    def key(self) -> str:
        """What the store knows it by: it depends on the content of the file, not on its path."""
        return f"{self.sha256}/{self.view}" if self.view else self.sha256


# The outputs by name, in the types of `DTYPES`; or the error that says why the image cannot be read.
Outcome = dict[str, np.ndarray] | UnreadableImageError
Row = tuple[Request, Outcome]


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

    def views(
        self, path: Path, sha256: str, numbers: Sequence[int], content: bytes | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the views of those numbers, each uint8 (size, size, 3), reading the file once.

        Parameters
        ----------
        path, sha256 : of the image file.
        numbers : of the views, from 0.
        content : of the file, where it is not to be read.

        Raises
        ------
        UnreadableImageError
            If the file is missing or no readable image.
        """
        if content is None:
            image = loader.read(path, self.size, self.resize)
        else:
            image = loader.decoded(content, str(path), self.size, self.resize)
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


def by_image(requests: Iterable[Request], window: int = WINDOW) -> Iterator[list[Request]]:
    """Yield the requests of each image together, in the order in which the images come first.

    Only `window` requests are in memory; those of an image that are farther apart are not together.
    """
    waiting = iter(requests)
    while some := list(islice(waiting, window)):
        groups: dict[str, list[Request]] = defaultdict(list)
        for request in some:
            groups[request.sha256].append(request)
        yield from groups.values()


def rows_of_image(
    network: Callable[[np.ndarray], Sequence[np.ndarray]],
    outputs: Sequence[str],
    pixels: Pixels,
    requests: Sequence[Request],
    content: bytes | None = None,
) -> list[Row]:
    """Return the outcome of requests that are all of one image, which is read once.

    Parameters
    ----------
    network : from a view, uint8 (size, size, 3), to its outputs, without the batch axis.
    outputs : the name of each output.
    pixels : how the file becomes views.
    requests : of the same file.
    content : of the file, where it is not to be read.
    """
    path, sha256, _ = requests[0]
    try:
        views = pixels.views(path, sha256, [request.view for request in requests], content)
        return [
            (request, in_stored_types(dict(zip(outputs, network(view), strict=True))))
            for request, view in zip(requests, views, strict=True)
        ]
    except UnreadableImageError as error:
        return [(request, error) for request in requests]


def in_stored_types(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs in the types of `DTYPES`, without those whose type cannot represent a value."""
    with np.errstate(over="ignore"):
        stored = {name: array.astype(DTYPES[name]) for name, array in outputs.items()}
    return {name: array for name, array in stored.items() if np.isfinite(array).all()}
