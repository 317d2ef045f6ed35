"""The one image loader: every stage and the exported model get the same pixels from a file."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, features

from graft.core.errors import GraftError
from graft.images import shards
from graft.images.decoder import UnreadableImageError, decode

HEIC_SUFFIXES = (".heic", ".heif", ".hif")
# A file's name selects it; its content decides how it is decoded.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".jpe", ".jfif", ".apng", ".avif", *HEIC_SUFFIXES),
)


# Raise it when a file gives other pixels.
VERSION = 4
FILTER = Image.Resampling.BILINEAR
# Crops come from the middle of an image, at most this many times as long as wide.
LONGEST = 2


def version() -> str:
    """Return the name of what gives a file's pixels. What is computed from pixels is stored under it."""
    heic = ""
    if find_spec("pillow_heif"):
        # Imported only here, because it takes a while.
        from importlib import metadata

        heic = f", HEIC {metadata.version('pillow-heif')}"
    return f"{VERSION}, Pillow {PIL.__version__}, JPEG {features.version('jpg')}{heic}"


def is_image_name(path: Path) -> bool:
    """Return whether a file's name has the suffix of an image. Hidden files count as no images."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def other_files(paths: Iterable[Path]) -> dict[str, int]:
    """Return how many of the files are not images by their name, for each suffix in lower case."""
    return dict(sorted(Counter(path.suffix.lower() for path in paths if not is_image_name(path)).items()))


def left_out(others: Mapping[str, int]) -> str:
    """Return the message about the files that `other_files` counts."""
    counts = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in others.items())
    return f"left out: {counts}; known are {', '.join(SUFFIXES)}"


def _squash(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), FILTER)


def _crop(image: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(image, (size, size), FILTER)


def _pad(image: Image.Image, size: int) -> Image.Image:
    return ImageOps.pad(image, (size, size), FILTER)


def _crop_or_pad(image: Image.Image, size: int) -> Image.Image:
    left, upper = (image.width - size) // 2, (image.height - size) // 2
    # Pillow fills what lies outside the image with black.
    return image.crop((left, upper, left + size, upper + size))


RESIZERS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "squash": _squash,
    "crop": _crop,
    "pad": _pad,
    "crop_or_pad": _crop_or_pad,
}


def resized(image: Image.Image, size: int, resize: str) -> Image.Image:
    """Return `image` with `size` pixels on each side, by the method that `resize` in params.yaml names."""
    return RESIZERS[resize](image, size)


def with_shorter_side(image: Image.Image, size: int) -> Image.Image:
    """Return the middle of `image`: the shorter side of `size` pixels, the other at most `LONGEST` times as long."""
    shorter = min(image.size)
    width, height = (round(size * min(side / shorter, LONGEST)) for side in image.size)
    return ImageOps.fit(image, (width, height), FILTER)


def crops(image: Image.Image, size: int, resize: str, count: int) -> list[Image.Image]:
    """Return `count` crops of `size` pixels on each side, evenly spread along what `with_shorter_side` shows.

    The places that a crop can have are divided into `count` equal ranges; each crop is in the middle of its range. One
    crop alone is `resized`. Where `resized` shows all of the image, or the image is not cropped, it is the only one.
    """
    length = max(image.size) / min(image.size)
    if count == 1 or resize != "crop" or length == 1:
        return [resized(image, size, resize)]
    # The share of the possible places that lie in the middle part: all of them unless the image is longer.
    reach = (min(length, LONGEST) - 1) / (length - 1)
    places = (0.5 + reach * ((place + 0.5) / count - 0.5) for place in range(count))
    return [ImageOps.fit(image, (size, size), FILTER, centering=(place, place)) for place in places]


def read(path: Path, size: int, resize: str, max_pixels: int | None = None) -> Image.Image:
    """Read an image file for `resized` with that size and method.

    `max_pixels` is as for `decode`. Without it the image is one that the stage download has checked.

    Raises
    ------
    UnreadableImageError
        If the file is missing or not a readable image.
    """
    return decoded(content(path), str(path), size, resize, max_pixels)


def content(path: Path) -> bytes:
    """Return the bytes of an image: of a file, or of its place in a shard. All images are read here.

    Raises
    ------
    UnreadableImageError
        If there is no such file, it cannot be read, or its shard has changed.
    """
    try:
        return shards.read(path) if shards.is_inside(path) else path.read_bytes()
    except GraftError as error:
        raise UnreadableImageError(str(error)) from error
    except OSError as error:
        raise UnreadableImageError(f"{path}: cannot be read ({error.strerror})") from error


def content_size(path: Path) -> int:
    """Return how many bytes `content` returns, without reading them; 0 where it would raise an error."""
    try:
        return shards.size(path) if shards.is_inside(path) else path.stat().st_size
    except (GraftError, OSError):
        return 0


def decoded(data: bytes, name: str, size: int, resize: str, max_pixels: int | None = None) -> Image.Image:
    """Return what `read` returns of a file with these bytes; the name is for the error message."""
    return decode(data, size, name, resize != "crop_or_pad", max_pixels)


def load(path: Path, size: int, resize: str, max_pixels: int | None = None) -> np.ndarray:
    """Load an image file as the network gets it: uint8 array (size, size, 3), RGB. `max_pixels` is as for `read`.

    Raises
    ------
    UnreadableImageError
        If the file is missing or not a readable image.
    """
    return np.asarray(resized(read(path, size, resize, max_pixels), size, resize))


def load_crops(path: Path, size: int, resize: str, count: int, max_pixels: int | None = None) -> list[np.ndarray]:
    """Load the `crops` of an image file, each uint8 array (size, size, 3), RGB. `max_pixels` is as for `read`.

    Raises
    ------
    UnreadableImageError
        If the file is missing or not a readable image.
    """
    image = read(path, size, resize, max_pixels)
    return [np.asarray(crop) for crop in crops(image, size, resize, count)]
