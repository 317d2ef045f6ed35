"""Colours: ICC profiles, transparency and the rarer kinds of pixels become 8-bit sRGB."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from graft.core.threads import in_order
from graft.images import decoder

COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
# The primaries of Adobe RGB and Display P3, and the white of both, as xy.
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
DISPLAY_P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65, D50 = np.array([0.9505, 1, 1.0891]), np.array([0.9642, 1, 0.8249])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(space, tags):
    """Return the bytes of an ICC profile, version 2, of a display: its colour space, and the data of its tags."""
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", 132 + 12 * len(tags) + len(content), b"", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", *(round(65536 * value) for value in D50))
    return header.ljust(128, b"\0") + table + content


def described(name):
    return b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79)


def xyz(values):
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(65536 * value) for value in values))


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value)) + bytes(2)


def to_xyz(primaries):
    """Return the matrix from linear RGB to XYZ under D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    return columns * np.linalg.solve(columns, D65)


def rgb_profile(primaries, exponent=2.2):
    adapted = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ D65)) @ BRADFORD @ to_xyz(primaries)
    tags = {b"desc": described(b"test"), b"wtpt": xyz(D50), b"cprt": b"text" + bytes(5)}
    tags |= {name: xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True)}
    return profile(b"RGB ", tags | {name: gamma(exponent) for name in (b"rTRC", b"gTRC", b"bTRC")})


def grey_profile(exponent):
    return profile(
        b"GRAY",
        {b"desc": described(b"test"), b"wtpt": xyz(D50), b"cprt": b"text" + bytes(5), b"kTRC": gamma(exponent)},
    )


def srgb_levels(linear):
    """Return the levels of sRGB (IEC 61966-2-1) of linear light from 0 to 1."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def converted(colours, primaries, exponent=2.2):
    """Return the sRGB levels of colours in another space, by the definitions of both."""
    srgb = to_xyz(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)))
    return srgb_levels((colours / 255) ** exponent @ (np.linalg.inv(srgb) @ to_xyz(primaries)).T)


def decoded(data):
    return np.asarray(decoder.decode(data, 100, "x"))


@pytest.mark.parametrize(("primaries", "exponent"), [(ADOBE_RGB, 2.2), (DISPLAY_P3, 2.2), (ADOBE_RGB, 1)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_profile_of_other_primaries_is_converted_to_srgb(encode, primaries, exponent, suffix):
    shown = decoded(encode(Image.fromarray(COLOURS), suffix, icc_profile=rgb_profile(primaries, exponent)))
    expected = converted(COLOURS, primaries, exponent)
    assert np.abs(expected - COLOURS).max() > 9
    np.testing.assert_allclose(shown, expected, atol=2)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_profiles_are_found_in_every_format_that_has_them(encode, suffix):
    picture = Image.new("RGB", (16, 16), (60, 200, 90))
    shown = decoded(encode(picture, suffix, icc_profile=rgb_profile(ADOBE_RGB)))
    np.testing.assert_allclose(shown[8, 8], converted(np.array([60, 200, 90]), ADOBE_RGB), atol=5)


def test_an_srgb_profile_changes_no_level(encode):
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(COLOURS), ".png", icc_profile=SRGB)), COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_profile_of_grey_levels_is_converted(encode, mode):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = encode(Image.fromarray(grey).convert(mode), ".png", icc_profile=grey_profile(1.0))
    np.testing.assert_allclose(decoded(data), np.stack([srgb_levels(grey / 255)] * 3, axis=-1), atol=2)


def test_sixteen_bits_are_scaled_before_their_profile_is_applied(encode):
    grey = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    data = encode(Image.fromarray(grey), ".png", icc_profile=grey_profile(1.0))
    np.testing.assert_allclose(decoded(data)[..., 0], srgb_levels(grey // 256 / 255), atol=2)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_parts_are_white_with_a_profile_too(encode, mode):
    seen = Image.fromarray(np.array([[[60, 200, 90, 0], [60, 200, 90, 255]]], np.uint8)).convert(mode)
    shown = decoded(encode(seen, ".png", icc_profile=rgb_profile(ADOBE_RGB)))
    np.testing.assert_array_equal(shown[0, 0], [255] * 3)
    np.testing.assert_allclose(shown[0, 1], converted(np.array([60, 200, 90]), ADOBE_RGB), atol=2)


def test_a_profile_of_four_inks_is_converted(encode):
    # A table of two levels for each ink, black the fastest: paper is white, black is black, all else a light grey.
    lightness = [255, 0, *[200, 0] * 7]
    table = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    table += bytes(range(256)) * 4 + b"".join(bytes([level, 128, 128]) for level in lightness) + bytes(range(256)) * 3
    tags = {b"desc": described(b"test"), b"wtpt": xyz(D50), b"cprt": b"text" + bytes(5), b"A2B0": table}
    data = profile(b"CMYK", tags).replace(b"mntrCMYKXYZ ", b"prtrCMYKLab ")
    # The lightness 200 / 255 by the CIE's formula.
    expected = srgb_levels(((100 * 200 / 255 + 16) / 116) ** 3)
    for suffix in (".jpg", ".tif"):
        shown = decoded(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), suffix, icc_profile=data))
        np.testing.assert_allclose(shown[4, 4], [expected] * 3, atol=3)


@pytest.mark.parametrize(
    "icc_profile",
    [b"no profile", SRGB[:200], bytes(3000), grey_profile(1.0), SRGB[:16] + b"CMYK" + SRGB[20:], b"\xff" * 132],
)
def test_a_broken_or_unsuitable_profile_is_ignored(encode, icc_profile):
    data = encode(Image.fromarray(COLOURS), ".png", icc_profile=icc_profile)
    np.testing.assert_array_equal(decoded(data), COLOURS)


def test_a_colour_profile_of_grey_levels_is_ignored(encode):
    data = encode(Image.fromarray(COLOURS[..., 0]), ".png", icc_profile=rgb_profile(ADOBE_RGB))
    np.testing.assert_array_equal(decoded(data)[..., 0], COLOURS[..., 0])


def test_a_profile_damaged_anywhere_gives_an_image(encode):
    rng, whole = np.random.default_rng(0), rgb_profile(ADOBE_RGB)
    for _ in range(100):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 8)] = rng.integers(0, 256, 8)
        assert decoded(encode(Image.fromarray(COLOURS), ".png", icc_profile=damaged.tobytes())).shape == (16, 16, 3)


def test_threads_share_a_profile_and_get_the_same_pixels(encode):
    data = encode(Image.fromarray(COLOURS), ".png", icc_profile=rgb_profile(ADOBE_RGB))
    expected = decoded(data)
    for shown in in_order(lambda _: decoded(data), range(300)):
        np.testing.assert_array_equal(shown, expected)


def test_four_inks_without_a_profile_mean_the_same_with_and_without_adobes_marker(encode):
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), ".jpg")
    marker = data.index(b"\xff\xee")
    length = 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")
    for file in (data, data[:marker] + data[marker + length :]):
        np.testing.assert_allclose(decoded(file)[4, 4], [255, 0, 0], atol=3)


def test_lab_becomes_rgb(encode):
    # Lightness 50 and a = 20, as 8 bits with an offset of 128; the result is that of the CIE's formulas.
    picture = Image.new("LAB", (2, 2), (128, 148, 128))
    np.testing.assert_allclose(decoded(encode(picture, ".tif"))[0, 0], [152, 107, 120], atol=2)


def test_luma_and_chroma_become_rgb(encode):
    picture = Image.new("RGB", (4, 4), (100, 150, 200)).convert("YCbCr")
    np.testing.assert_allclose(decoded(encode(picture, ".tif"))[0, 0], [100, 150, 200], atol=3)


@pytest.mark.parametrize("mode", ["PA", "LA", "RGBA"])
def test_transparency_in_tiff_files_becomes_white(encode, mode):
    seen = Image.fromarray(np.array([[[90, 90, 90, 0], [90, 90, 90, 255]]], np.uint8)).convert(mode)
    np.testing.assert_array_equal(decoded(encode(seen, ".tif"))[0], [[255] * 3, [90] * 3])


def test_levels_multiplied_by_their_opacity_are_divided_by_it(encode):
    # Half of the light of a grey of 200, on white.
    data = bytearray(encode(Image.fromarray(np.array([[[100, 128]]], np.uint8), "LA"), ".tif"))
    place = data.index(struct.pack("<HHIH", Tag.ExtraSamples, 3, 1, 2))
    data[place + 8] = 1
    np.testing.assert_allclose(decoded(bytes(data))[0, 0], [227] * 3, atol=2)


def png(levels, colour_type, *chunks):
    """Return the bytes of a PNG file of 16-bit levels (height, width, channels)."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_the_transparent_level_of_16_bits_becomes_white():
    levels = np.array([[0, 0x1234, 0x1235, 0xFFFF]])
    shown = decoded(png(levels, 0, (b"tRNS", b"\x12\x34")))
    np.testing.assert_array_equal(shown[0, :, 0], [0, 255, 0x12, 255])


def test_the_transparent_colour_of_16_bits_becomes_white():
    levels = np.array([[[0x1234, 0x5678, 0x9ABC], [0xFFFF, 0, 0]]])
    shown = decoded(png(levels, 2, (b"tRNS", b"\x12\x34\x56\x78\x9a\xbc")))
    np.testing.assert_array_equal(shown[0], [[255] * 3, [255, 0, 0]])


# Colour types of PNG: grey, RGB, grey and opacity, RGB and opacity.
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_twelve_bits_in_sixteen_are_refused_and_not_nearly_black(colour_type, channels):
    levels = np.full((2, 2, channels), 4095)
    if channels in (2, 4):
        levels[..., -1] = 65535
    with pytest.raises(
        decoder.UnreadableImageError, match=r"all below 4,096, nearly black: .*; scale its levels to 655?"
    ):
        decoder.decode(png(levels, colour_type), 16, "x")
    levels[0, 0, 0] = 4096
    assert decoded(png(levels, colour_type))[0, 0, 0] == 16


def test_twelve_bits_in_sixteen_are_scaled_where_the_file_declares_them(encode):
    directory = ImageFileDirectory_v2()
    directory[Tag.MaxSampleValue] = 4095
    data = encode(Image.fromarray(np.array([[0, 2048, 4095]], np.uint16)), ".tif", tiffinfo=directory)
    np.testing.assert_array_equal(decoded(data)[0, :, 0], [0, 128, 255])


def test_sixteen_bits_that_are_all_black_are_black():
    assert not decoded(png(np.zeros((2, 2)), 0)).any()


def test_signed_levels_of_eight_bits_are_refused(encode):
    directory = ImageFileDirectory_v2()
    directory[Tag.SampleFormat] = 2
    data = encode(Image.fromarray(np.array([[0, 5, 255]], np.uint8)), ".tif", tiffinfo=directory)
    with pytest.raises(decoder.UnreadableImageError, match=r"levels are signed, .*; save it as 8 or 16 unsigned bits"):
        decoder.decode(data, 16, "x")


def test_a_profile_is_applied_to_every_strip_of_a_large_image(encode, monkeypatch):
    data = encode(Image.fromarray(COLOURS), ".png", icc_profile=rgb_profile(ADOBE_RGB))
    expected = decoded(data)
    monkeypatch.setattr(decoder, "LARGE_PIXELS", 100)
    monkeypatch.setattr("graft.images.colour.STRIP_PIXELS", 32)
    np.testing.assert_array_equal(decoded(data), expected)
