"""The one decoder: an image file's bytes to 8-bit sRGB pixels, or one line that says why not."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Condition
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base as Tag

from graft.core.errors import GraftError
from graft.images.colour import has_16_bits, rgb_converter, strips

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# The formats that are read, whatever the file's name. Pillow knows more; one of them starts another program.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "AVIF")
# The kinds of files in the container of AVIF and HEIC that are HEIC, or may be.
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
# All threads together decode no more pixels at once: that takes 0.3 GB, or 1 GB for WebP. A larger image is decoded
# alone.
PIXELS_AT_ONCE = 64_000_000
# The largest image where params.yaml says nothing: a small file can ask for any number of pixels.
MAX_PIXELS = PIXELS_AT_ONCE
# The largest that params.yaml can allow. A JPEG may be small enough at a fraction of its size, and larger at its own.
MOST_PIXELS = 1_000_000_000
# An image with more pixels is converted in strips, and shrunk on the way.
LARGE_PIXELS = 16_000_000
MESSAGE_LENGTH = 200

# The check of `max_pixels` takes the place of Pillow's, which counts the pixels of a JPEG before it is decoded at a
# fraction of its size.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of broken metadata, which changes no pixel, and logs why it refuses some files, without their names. Both
# are switched off once: `warnings.catch_warnings` is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)


class UnreadableImageError(GraftError):
    """A file that is not an image, or a damaged image."""


def decode(data: bytes, size: int, name: str, scaled: bool = True, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Decode an image file's bytes to 8-bit sRGB.

    An animation gives its first picture. The EXIF orientation is applied. The colours are those of `rgb_converter`.

    Parameters
    ----------
    data : the file's bytes.
    size : the shorter side, in pixels, that the caller needs. A much larger JPEG is decoded at a fraction of its size,
        and an image of more than `LARGE_PIXELS` is shrunk to a fraction, never below twice `size`.
    name : of the file, for the error message.
    scaled : False: the image keeps its scale, and of a large one only the middle of `size` x `size` pixels is returned.
    max_pixels : how many pixels of it may be in memory; None: `MOST_PIXELS`, for an image that was checked
        before.

    Raises
    ------
    UnreadableImageError
        If the bytes are not an image in one of `FORMATS` (or HEIC, where pillow-heif is installed), or are damaged; if
        more than `max_pixels` would be in memory; or if the range of its grey levels is unknown.
    """
    # Damage can make Pillow's decoders raise anything, and each version adds some; the message has the exception's
    # name, so that a fault of this module is not taken for one of the file. Ctrl+C and `sys.exit` are no `Exception`.
    try:
        with _open(data) as image:
            _require_all_rows(image)
            whole, sixteen_bits = image.width * image.height, has_16_bits(image)
            if scaled:
                image.draft(None, (2 * size, 2 * size))
            pixels = _pixels_in_memory(image, whole, data)
            _require_at_most(MOST_PIXELS if max_pixels is None else max_pixels, pixels)
            with _memory.taken(pixels):
                return _converted(image, size, scaled, sixteen_bits)
    except Exception as error:
        raise UnreadableImageError(f"{name}: not a readable image ({_reason(error)})") from error


def size_and_format(data: bytes) -> tuple[tuple[int, int], str]:
    """Return width and height, not turned by EXIF, and the format of a file that `decode` reads."""
    with _open(data) as image:
        return image.size, image.format or ""


def _open(data: bytes) -> "ImageFile":
    formats, is_heic = FORMATS, False
    if data[4:8] == b"ftyp":
        formats, is_heic = ("AVIF", "HEIF") if _reads_heic() else ("AVIF",), data[8:12] in HEIC_BRANDS
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        if is_heic and not _reads_heic():
            raise ValueError("HEIC needs another package: pip install pillow-heif") from error
        # Pillow names the in-memory file by its address.
        raise ValueError(f"damaged, or none of {', '.join((*FORMATS, 'HEIC'))}") from error


@cache
def _reads_heic() -> bool:
    """Return whether the package for HEIC is installed, and prepare the decoders of AVIF and HEIC."""
    from PIL import AvifImagePlugin

    # Images are decoded in threads already.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        import pillow_heif
    except ImportError:
        return False
    # A thumbnail may show something else.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return True


def _require_all_rows(image: "ImageFile") -> None:
    # Pillow leaves those black that no uncompressed strip or tile of a TIFF file has.
    if image.format == "TIFF" and image.tile:
        height = image.tag_v2[Tag.ImageLength]  # type: ignore[attr-defined]  # the plugin for TIFF has it
        rows = max(tile.extents[3] for tile in image.tile)  # type: ignore[index]  # the plugin gives each tile extents
        if rows < height:
            raise ValueError(f"damaged: {rows:,} of its {height:,} rows are there")


def _require_at_most(limit: int, pixels: int) -> None:
    if pixels > limit:
        remedy = "make it smaller"
        if limit < MOST_PIXELS:
            remedy += ", or raise limits.pixels in params.yaml; a classifier has it as max_pixels in the labels.json"
        raise ValueError(f"{pixels:,} pixels, above the limit of {limit:,}: {remedy}")


def _pixels_in_memory(image: "ImageFile", whole: int, data: bytes) -> int:
    """Return how many pixels the decoder keeps.

    Parameters
    ----------
    image : open, not loaded, with the size at which it is decoded.
    whole : its number of pixels in the file.
    data : the file's bytes.
    """
    if image.format in ("JPEG", "MPO") and not _has_one_scan(image, data):
        return whole
    tags = getattr(image, "tag_v2", {})
    # libtiff decodes whole tiles, which can be larger than the image.
    tile = [tags.get(side, 1) for side in (Tag.TileWidth, Tag.TileLength)]
    return max(image.width * image.height, tile[0] * tile[1])


def _has_one_scan(image: "ImageFile", data: bytes) -> bool:
    """Return whether a JPEG's first scan has all its channels. Otherwise libjpeg keeps all pixels, at full size.

    Pillow has just read the scan's header: two bytes of length, the number of channels, two bytes for each, three more.
    """
    channels = image.layers  # type: ignore[attr-defined]  # the plugin for JPEG has it
    length = 2 * channels + 6
    place = image.fp.tell()  # type: ignore[union-attr]  # open, as the image is not loaded
    header = data[max(0, place - length) :][:3]
    return "progressive" not in image.info and header == length.to_bytes(2, "big") + bytes([channels])


class _Memory:
    """Counts the pixels that all threads together decode, and makes a thread wait while there are too many."""

    def __init__(self) -> None:
        self._pixels = 0
        self._changed = Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, or nothing else is decoded, and keep it for the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._pixels == 0 or self._pixels + pixels <= PIXELS_AT_ONCE)
            self._pixels += pixels
        try:
            yield
        finally:
            with self._changed:
                self._pixels -= pixels
                self._changed.notify_all()


_memory = _Memory()


def _converted(image: Image.Image, size: int, scaled: bool, sixteen_bits: bool) -> Image.Image:
    is_large = image.width * image.height > LARGE_PIXELS
    try:
        image.load()
        _turn_upright(image)
        convert = rgb_converter(image, sixteen_bits)
        if not is_large:
            return convert(image)
        return _shrunk(image, size, convert) if scaled else convert(_middle(image, size))
    finally:
        if is_large:
            image.close()
            _return_free_memory()


def _return_free_memory() -> None:
    """Return freed memory to the system. The C library of Linux would keep the pixels of one image for each thread."""
    import ctypes

    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _turn_upright(image: Image.Image) -> None:
    try:
        # In place: otherwise Pillow copies every image, an upright one too.
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow can raise anything at broken metadata
        # Broken metadata make no image unreadable. Pillow turns the pixels before it writes the metadata again.
        pass


def _middle(image: Image.Image, size: int) -> Image.Image:
    width, height = min(size, image.width), min(size, image.height)
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, upper, left + width, upper + height))


def _shrunk(image: Image.Image, size: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the image by `convert`, with each side divided by a whole number, the shorter one at least 2 x `size`."""
    factor = max(1, min(image.size) // (2 * size))
    result = Image.new("RGB", [-(-side // factor) for side in image.size])
    for top, strip in strips(image, factor):
        result.paste(convert(strip).reduce(factor), (0, top // factor))
    return result


def _reason(error: Exception) -> str:
    """Return one line, printable: Pillow's own message, or else the kind of the exception and its message."""
    line = next(iter(str(error).splitlines()), "")[:MESSAGE_LENGTH]
    text = "".join(character if character.isprintable() else "?" for character in line)
    if text and isinstance(error, OSError | SyntaxError | ValueError):
        return text
    if isinstance(error, MemoryError):
        return "not enough memory"
    return ": ".join(filter(None, (type(error).__name__, text)))
