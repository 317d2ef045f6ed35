"""Colours: the pixels of an image in any mode that Pillow reads, as 8-bit sRGB."""

import io
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform
    from PIL.ImageFile import ImageFile

# Values of the TIFF tags SampleFormat and PhotometricInterpretation.
UNSIGNED, SIGNED, WHITE_IS_ZERO = 1, 2, 0
# Formats whose grey levels of up to 16 bits use the whole range.
INTEGER_FORMATS = ("TIFF", "PNG", "PPM")
# A 16-bit image whose levels are all below this shows nothing: it has 12 bits, and does not say so.
LEVELS_OF_12_BITS = 1 << 12
# The colour space that an ICC profile must have for an image of each mode.
PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
# A profile that moves no colour by more levels is another way to write sRGB.
SAME_LEVELS = 2
# Pixels that are converted at once.
STRIP_PIXELS = 1 << 20


def strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield an image in strips of whole rows, each with the number of its first row, a multiple of `multiple`."""
    rows = multiple * max(1, STRIP_PIXELS // (image.width * multiple))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def has_16_bits(image: "ImageFile") -> bool:
    """Return whether an image that is open and not loaded has 16 bits in each of several channels.

    Pillow keeps only the upper eight.
    """
    return image.mode in ("RGB", "RGBA", "LA") and ";16" in str([tile.args for tile in image.tile])


def rgb_converter(image: Image.Image, sixteen_bits: bool) -> Callable[[Image.Image], Image.Image]:
    """Return the function that makes 8-bit sRGB of a part of `image`, a whole one too.

    An ICC profile is converted to sRGB; one that is broken, or made for other channels, is ignored. Transparent parts
    become white. Grey levels of more than 8 bits are scaled from the range that the file declares (`_grey_range`).

    Parameters
    ----------
    image : loaded.
    sixteen_bits : what `has_16_bits` returned.

    Raises
    ------
    ValueError
        If the range of the levels is not known, or a level is beyond it.
    """
    eight_bit, profile = _eight_bit_converter(image, sixteen_bits), image.info.get("icc_profile")
    return lambda part: _rgb(eight_bit(part), profile)


def _eight_bit_converter(image: Image.Image, sixteen_bits: bool) -> Callable[[Image.Image], Image.Image]:
    # Pillow's own conversion of wider grey levels cuts them off at 255 instead of scaling them.
    if not image.mode.startswith(("I", "F")):
        if SIGNED in getattr(image, "tag_v2", {}).get(Tag.SampleFormat, ()):
            raise ValueError("its levels are signed, so their range is unknown; save it as 8 or 16 unsigned bits")
        if sixteen_bits:
            extrema = cast("tuple[tuple[int, int], ...]", image.getextrema())  # of several bands
            bands = zip(image.getbands(), extrema, strict=True)
            _require_more_than_12_bits(max(high for band, (_, high) in bands if band != "A") << 8)
        return _sixteen_bit_key if sixteen_bits else _as_it_is
    black, white, declared = _grey_range(image)
    extremes = [(levels.min(), levels.max()) for levels in (np.asarray(part) for _, part in strips(image))]
    lowest, highest = np.min(extremes), np.max(extremes)
    # Also true where a level is not a number.
    if not min(black, white) <= lowest <= highest <= max(black, white):
        raise ValueError(f"its grey levels go from {lowest:g} to {highest:g}, beyond {black:g} to {white:g}")
    if max(black, white) == 65535 and not declared:
        _require_more_than_12_bits(highest, hint=", or name the highest in the TIFF tag MaxSampleValue")
    transparent = image.info.get("transparency")
    return lambda part: _scaled(np.asarray(part), black, white, transparent)


def _require_more_than_12_bits(highest: int, hint: str = "") -> None:
    # All black, it is black with any range.
    if 0 < highest < LEVELS_OF_12_BITS:
        raise ValueError(
            "its 16-bit levels are all below 4,096, nearly black: it seems to have 12 bits or less; "
            f"scale its levels to 65,535{hint}"
        )


def _as_it_is(part: Image.Image) -> Image.Image:
    return part


def _sixteen_bit_key(part: Image.Image) -> Image.Image:
    # The transparent colour of the file has 16 bits, the pixels have the upper eight.
    if isinstance(part.info.get("transparency"), tuple):
        part.info["transparency"] = tuple(level >> 8 for level in part.info["transparency"])
    return part


def _scaled(levels: np.ndarray, black: float, white: float, transparent: object) -> Image.Image:
    # Exact to the last 8-bit level: single precision for 16 bits, double precision for 32.
    shares = (levels.astype(np.result_type(levels, np.float32)) - black) / (white - black)
    image = Image.fromarray((shares * 256).clip(0, 255).astype(np.uint8))
    if isinstance(transparent, int):
        image.putalpha(Image.fromarray(np.where(levels == transparent, 0, 255).astype(np.uint8)))
    return image


def _grey_range(image: Image.Image) -> tuple[float, float, bool]:
    """Return the grey levels that are black and white, and whether the file declares them.

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
    (declared,) = tags.get(Tag.SMaxSampleValue, tags.get(Tag.MaxSampleValue, (None,)))
    white = default if declared is None else declared
    if white is None or white <= black:
        raise ValueError(
            f"the range of its {bits}-bit grey levels is unknown; save it as 8 or 16 unsigned bits, or as floats"
        )
    if tags.get(Tag.PhotometricInterpretation) == WHITE_IS_ZERO:
        black, white = white, black
    return black, white, declared is not None


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "LAB":
        return _apply(_lab_to_srgb(), image)
    mode = {"L": "L", "LA": "L", "La": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    transform = _to_srgb(profile, mode) if profile else None
    if image.has_transparency_data:
        return _on_white(image, mode, transform)
    if transform:
        return _apply(transform, _in_mode(image, mode))
    return _in_mode(image, "RGB")


def _on_white(image: Image.Image, mode: str, transform: "ImageCmsTransform | None") -> Image.Image:
    # White is the usual background of cut-out pictures. The colours under transparent parts mean nothing.
    # Pillow undoes the multiplication of grey levels by their opacity only on the way to LA.
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if transform:
        colours = _apply(transform, image.convert(mode))
        colours.putalpha(image.getchannel("A"))
        image = colours
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    # Pillow's `convert` would copy what is in this mode already.
    return image if image.mode == mode else image.convert(mode)


# Images with a profile are rare in many data sets: Pillow's ImageCms is imported where the first one is met.


def _apply(transform: "ImageCmsTransform", image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    # It returns None only where it changes the image in place.
    return ImageCms.applyTransform(image, transform)  # type: ignore[return-value]


@lru_cache(1)
def _lab_to_srgb() -> "ImageCmsTransform":
    from PIL import ImageCms

    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


# The files of one camera have the same profile.
@lru_cache(16)
def _to_srgb(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """Return the transform to sRGB of an ICC profile, for images of `mode`; None where it would change nothing.

    That is so for a broken profile, for one of another colour space, and for sRGB itself, whoever wrote it.
    """
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != PROFILE_SPACES[mode]:
            return None
        # The optimiser puts a table in the place of a curve of grey levels: dark ones were up to ten levels off.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * len(mode)), axis=-1).reshape(1, -1, len(mode))
    sample = Image.fromarray(colours if mode == "RGB" else colours[..., 0])
    change = np.abs(np.asarray(_apply(transform, sample), int) - np.asarray(sample.convert("RGB"), int))
    return transform if change.max() > SAME_LEVELS else None
