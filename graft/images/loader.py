"""The one image loader: every stage and the exported model get the same pixels from a file."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, features
from PIL.ExifTags import Base as Tag

from graft.core.errors import GraftError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# What is computed from pixels is stored under this name. Raise the number when a file gives other pixels.
VERSION = f"3, Pillow {PIL.__version__}, JPEG {features.version('jpg')}"
FILTER = Image.Resampling.BILINEAR
# Crops come from the middle of an image, at most this many times as long as wide.
LONGEST = 2
# Values of the TIFF tags SampleFormat and PhotometricInterpretation.
UNSIGNED, WHITE_IS_ZERO = 1, 0
# Formats whose grey levels of up to 16 bits use the whole range.
INTEGER_FORMATS = ("TIFF", "PNG", "PPM", "JPEG2000")

# Pillow warns of broken metadata and of images that are larger than half its limit. Neither changes a pixel. The filter
# is set once: `warnings.catch_warnings` is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImageError(GraftError):
    """A file that is not an image, or a damaged image."""


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


def decode(data: bytes, size: int, name: str) -> Image.Image:
    """Decode an image file's bytes to 8-bit RGB.

    The EXIF orientation is applied. Transparent parts become white. Grey levels of more than 8 bits are scaled from the
    range that the file declares (`_grey_range`).

    Parameters
    ----------
    data : the file's bytes.
    size : the shorter side, in pixels, that the caller needs. A much larger JPEG is decoded at a fraction of its size,
        never below twice `size`.
    name : of the file, for the error message.

    Raises
    ------
    UnreadableImageError
        If the bytes are not an image, or are damaged; if the image has more than 178 million pixels (Pillow's limit);
        or if the range of its grey levels is unknown.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (2 * size, 2 * size))
            # In place: otherwise Pillow copies every image, an upright one too.
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            return _rgb(_opaque(_eight_bit(image)))
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"{name}: not a readable image ({_first_line(error)})") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of wider grey levels cuts them off at 255 instead of scaling them.
    if not image.mode.startswith(("I", "F")):
        return image
    black, white = _grey_range(image)
    levels = np.asarray(image)
    lowest, highest = levels.min(), levels.max()
    # Also true where a level is not a number.
    if not min(black, white) <= lowest <= highest <= max(black, white):
        raise ValueError(f"its grey levels go from {lowest:g} to {highest:g}, beyond {black:g} to {white:g}")
    # Exact to the last 8-bit level: single precision for 16 bits, double precision for 32.
    shares = (levels.astype(np.result_type(levels, np.float32)) - black) / (white - black)
    return Image.fromarray((shares * 256).clip(0, 255).astype(np.uint8))


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """Return the grey levels that are black and white.

    They are those of the TIFF tags SMinSampleValue and SMaxSampleValue, or MinSampleValue and MaxSampleValue. Without
    these tags, unsigned integers of up to 16 bits use their whole range, and floats the range from 0 to 1.

    Raises
    ------
    ValueError
        If there is no such range: for 32-bit integers, 255, 65,535 and 2**31 would all be likely values of white.
    """
    tags = getattr(image, "tag_v2", {})
    (bits,), (kind,) = tags.get(Tag.BitsPerSample, (16,)), tags.get(Tag.SampleFormat, (UNSIGNED,))
    default = None
    if image.mode == "F":
        default = 1
    elif kind == UNSIGNED and bits <= 16 and image.format in INTEGER_FORMATS:
        default = 2**bits - 1
    (black,) = tags.get(Tag.SMinSampleValue, tags.get(Tag.MinSampleValue, (0,)))
    (white,) = tags.get(Tag.SMaxSampleValue, tags.get(Tag.MaxSampleValue, (default,)))
    if white is None or white <= black:
        raise ValueError(
            f"the range of its {bits}-bit grey levels is unknown; save it as 8 or 16 unsigned bits, or as floats"
        )
    return (white, black) if tags.get(Tag.PhotometricInterpretation) == WHITE_IS_ZERO else (black, white)


def _opaque(image: Image.Image) -> Image.Image:
    # White is the usual background of cut-out pictures. The colours under transparent parts mean nothing.
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


def read(path: Path, size: int, resize: str) -> Image.Image:
    """Read an image file for `resized` with that size.

    Raises
    ------
    UnreadableImageError
        If the file is missing or not a readable image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"{path}: cannot be read ({error.strerror})") from error
    # `crop_or_pad` needs the image at its own size.
    return decode(data, size if resize != "crop_or_pad" else 1 << 20, str(path))


def load(path: Path, size: int, resize: str) -> np.ndarray:
    """Load an image file as the network gets it: uint8 array (size, size, 3), RGB.

    Raises
    ------
    UnreadableImageError
        If the file is missing or not a readable image.
    """
    return np.asarray(resized(read(path, size, resize), size, resize))


def load_crops(path: Path, size: int, resize: str, count: int) -> list[np.ndarray]:
    """Load the `crops` of an image file, each uint8 array (size, size, 3), RGB.

    Raises
    ------
    UnreadableImageError
        If the file is missing or not a readable image.
    """
    return [np.asarray(crop) for crop in crops(read(path, size, resize), size, resize, count)]
