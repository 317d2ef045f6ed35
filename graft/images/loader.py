"""The one image loader: every stage and the exported model see the same pixels of a file."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, features

from graft.core.errors import GraftError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# What changes the pixels belongs to the identity of all that is computed from them.
VERSION = f"2, Pillow {PIL.__version__}, JPEG {features.version('jpg')}"
FILTER = Image.Resampling.BILINEAR
# Of a picture that is longer than this many times its width, what lies beyond is not looked at.
LONGEST = 2


class UnreadableImageError(GraftError):
    """A file that is no image, or a damaged one."""


def is_image_name(path: Path) -> bool:
    """Say whether a file's name looks like an image's; hidden files do not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def other_files(paths: Iterable[Path]) -> dict[str, int]:
    """Return how many of some files have no image's name, by suffix in small letters."""
    return dict(sorted(Counter(path.suffix.lower() for path in paths if not is_image_name(path)).items()))


def left_out(others: Mapping[str, int]) -> str:
    """Return the words that say which files, as `other_files` counts them, are not looked at."""
    counts = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in others.items())
    return f"left out: {counts}; known are {', '.join(SUFFIXES)}"


def decode(data: bytes, size: int, name: str) -> Image.Image:
    """Decode an image file's bytes to RGB, upright by its EXIF orientation, transparent parts laid on white.

    Parameters
    ----------
    data : the file's bytes.
    size : the shorter side, in pixels, that the caller needs. A much larger JPEG is decoded at a fraction of its
        scale, never below twice `size`.
    name : what an error calls the file.

    Raises
    ------
    UnreadableImageError
        If the bytes are no image, a damaged one, or one of more than 178 million pixels (Pillow's bound).
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns between half its bound and the bound; metadata faults do not concern the pixels.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.draft(None, (2 * size, 2 * size))
                # In place: otherwise Pillow copies every image, an upright one too.
                ImageOps.exif_transpose(image, in_place=True)
                image.load()
                return _rgb(_opaque(_eight_bit(image)))
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"{name}: not a readable image ({_first_line(error)})") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of 16-bit grey cuts values off at 255 instead of scaling them.
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    # White is what cut-out pictures mostly stand on. What a file has under its transparent parts is nobody's choice.
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _rgb(image: Image.Image) -> Image.Image:
    # Pillow's `convert` would copy what is RGB already.
    return image if image.mode == "RGB" else image.convert("RGB")


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # Pillow names the in-memory file by its address.
    return "no image format that Pillow knows" if "cannot identify" in text else text


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


def square(image: Image.Image, size: int, resize: str) -> Image.Image:
    """Return `image` as a square of `size` pixels, in the way that `resize` in params.yaml names."""
    return RESIZERS[resize](image, size)


def band(image: Image.Image, size: int) -> Image.Image:
    """Return the middle of `image` with its shorter side of `size` pixels, and at most `LONGEST` times as long."""
    shorter = min(image.size)
    width, height = (round(size * min(side / shorter, LONGEST)) for side in image.size)
    return ImageOps.fit(image, (width, height), FILTER)


def squares(image: Image.Image, size: int, resize: str, count: int) -> list[Image.Image]:
    """Return `count` squares of `size` pixels, evenly spread along what `band` shows; one where `square` shows it all.

    Each is the middle one of its share of the places that a square can have: one alone is `square`, two lie a quarter
    of what is beside the middle one from either end.
    """
    length = max(image.size) / min(image.size)
    if count == 1 or resize != "crop" or length == 1:
        return [square(image, size, resize)]
    # The share of what is beside a square that the band shows: all, but of a picture longer than the band.
    reach = (min(length, LONGEST) - 1) / (length - 1)
    places = (0.5 + reach * ((place + 0.5) / count - 0.5) for place in range(count))
    return [ImageOps.fit(image, (size, size), FILTER, centering=(place, place)) for place in places]


def read(path: Path, size: int, resize: str) -> Image.Image:
    """Read an image file for `square` at that size.

    Raises
    ------
    UnreadableImageError
        If the file is missing or no readable image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"{path}: cannot be read ({error.strerror})") from error
    # Without scaling, an image must come at its own size.
    return decode(data, size if resize != "crop_or_pad" else 1 << 20, str(path))


def load(path: Path, size: int, resize: str) -> np.ndarray:
    """Load an image file as the network sees it: uint8 array (size, size, 3), RGB.

    Raises
    ------
    UnreadableImageError
        If the file is missing or no readable image.
    """
    return np.asarray(square(read(path, size, resize), size, resize))


def load_squares(path: Path, size: int, resize: str, count: int) -> list[np.ndarray]:
    """Load the `squares` of an image file, each uint8 array (size, size, 3), RGB.

    Raises
    ------
    UnreadableImageError
        If the file is missing or no readable image.
    """
    return [np.asarray(one) for one in squares(read(path, size, resize), size, resize, count)]
