"""The image loader: the pixels of every kind of file, upright, as 8-bit RGB."""

import io
import random
import struct
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from graft.core.threads import in_order
from graft.images import loader

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# 2 x 3 pixels, all different.
CORNERS = np.array([[RED, GREEN], [BLUE, (9, 9, 9)], [(250, 250, 250), (90, 90, 0)]], np.uint8)


def decoded(data, size=100):
    return np.asarray(loader.decode(data, size, "picture"))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".ppm"])
def test_lossless_files_give_their_very_pixels(encode, suffix):
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(CORNERS), suffix)), CORNERS)


@pytest.mark.parametrize("suffix", loader.SUFFIXES)
def test_every_known_suffix_is_a_format_that_can_be_read(encode, draw_picture, suffix):
    mode = "L" if suffix == ".pgm" else "RGB"
    pixels = decoded(encode(draw_picture(GREEN, 1).convert(mode), suffix))
    assert pixels.shape == (24, 24, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, CORNERS[::-1].transpose(1, 0, 2)),
        (7, CORNERS[::-1, ::-1].transpose(1, 0, 2)),
        (8, CORNERS[:, ::-1].transpose(1, 0, 2)),
    ],
)
def test_an_image_is_turned_upright_by_its_exif_orientation(encode, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(CORNERS), ".png", exif=exif)), upright)


def test_grey_levels_become_three_equal_channels(encode):
    grey = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(grey), ".png")), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_to_eight_and_not_cut_off(encode, suffix):
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(grey), suffix))[..., 0], grey // 256)


def grey_tiff(encode, levels, **tags):
    """Return the bytes of a TIFF file of grey levels, an array, with these tags."""
    directory = ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[Tag[name]] = value
    return encode(Image.fromarray(levels), ".tif", tiffinfo=directory)


def test_floats_are_scaled_from_0_and_1(encode):
    levels = np.array([[0, 0.25, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(decoded(grey_tiff(encode, levels))[..., 0], [[0, 64, 128, 255]])


def test_twelve_bits_are_scaled_from_0_and_4095(encode):
    # Pillow reads 12 bits a level and does not write them: the file is made of one with 16.
    data = bytearray(grey_tiff(encode, np.zeros((1, 2), np.uint16)))
    with Image.open(io.BytesIO(data)) as image:
        (pixels,) = image.tag_v2[Tag.StripOffsets]
    bits = data.index(struct.pack("<HHIH", Tag.BitsPerSample, 3, 1, 16))
    data[bits + 8] = 12
    data[pixels : pixels + 3] = b"\x80\x0f\xff"
    np.testing.assert_array_equal(decoded(bytes(data))[..., 0], [[128, 255]])


@pytest.mark.parametrize("tags", [("MinSampleValue", "MaxSampleValue"), ("SMinSampleValue", "SMaxSampleValue")])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_the_range_that_a_file_declares_is_that_of_its_grey_levels(encode, tags, kind):
    levels = np.array([[1000, 2000, 3000, 5000]], kind)
    data = grey_tiff(encode, levels, **dict(zip(tags, (1000, 5000), strict=True)))
    np.testing.assert_array_equal(decoded(data)[..., 0], [[0, 64, 128, 255]])


def test_where_zero_is_white_sixteen_bits_are_turned_round(encode):
    levels = np.array([[0, 32768, 65535]], np.uint16)
    shown = decoded(grey_tiff(encode, levels, PhotometricInterpretation=0))
    np.testing.assert_array_equal(shown[..., 0], [[255, 127, 0]])


@pytest.mark.parametrize("levels", [[0, 2], [-0.1, 1], [0, np.nan], [0, np.inf]])
def test_grey_levels_beyond_the_declared_range_are_refused(encode, levels):
    data = grey_tiff(encode, np.array([levels], np.float32))
    with pytest.raises(loader.UnreadableImageError, match=r"^x: .*its grey levels go from \S+ to \S+, beyond 0 to 1"):
        loader.decode(data, 16, "x")


def test_thirty_two_bits_without_a_declared_range_are_refused(encode):
    # Whether 255, 65535 or 2**31 is white, nobody knows.
    data = grey_tiff(encode, np.array([[0, 255]], np.int32))
    with pytest.raises(
        loader.UnreadableImageError, match=r"\(the range of its 32-bit grey levels is unknown; save it as"
    ):
        loader.decode(data, 16, "x")


def test_decoding_in_threads_leaves_the_warning_filters_as_they_are(encode):
    data, before = encode(Image.fromarray(CORNERS), ".png"), list(warnings.filters)
    list(in_order(lambda _: loader.decode(data, 16, "x"), range(2000)))
    assert warnings.filters == before


def test_what_changes_no_pixel_gives_no_warning(encode, run_python, tmp_path):
    broken_exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"
    (tmp_path / "a.jpg").write_bytes(encode(Image.fromarray(CORNERS), ".jpg", exif=broken_exif))
    # Pillow warns above 89 million pixels.
    (tmp_path / "b.png").write_bytes(encode(Image.new("1", (12_000, 10_000)), ".png"))
    script = "from pathlib import Path; from graft.images import loader\n"
    script += "for name in ('a.jpg', 'b.png'): loader.load(Path(name), 16, 'crop')"
    result = run_python("-W", "error", "-c", script, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_palette_gives_its_colours(encode):
    palette = Image.fromarray(CORNERS).quantize(6)
    np.testing.assert_array_equal(decoded(encode(palette, ".png")), CORNERS)


def test_black_and_white_become_0_and_255(encode):
    picture = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(decoded(encode(picture, ".png"))[..., 0], [[0, 255]])


def test_four_inks_become_red_green_and_blue(encode):
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    np.testing.assert_allclose(decoded(encode(picture, ".jpg"))[4, 4], RED, atol=3)


def test_transparent_parts_become_white(encode):
    seen = Image.fromarray(np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], np.uint8))
    np.testing.assert_array_equal(decoded(encode(seen, ".png")), [[[255] * 3, [10, 20, 30], [204] * 3]])


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_grey_levels_and_palettes_have_transparent_parts_too(encode, mode):
    seen = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)
    np.testing.assert_array_equal(decoded(encode(seen, ".png")), np.full((1, 2, 3), 255))


@pytest.mark.parametrize(
    ("suffix", "options"), [(".gif", {}), (".png", {}), (".tiff", {}), (".webp", {"lossless": True})]
)
def test_an_animation_gives_its_first_picture(encode, suffix, options):
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decoded(data)[0, 0], RED)


def test_a_large_jpeg_is_decoded_at_a_fraction_but_never_below_twice_the_size(encode):
    data = encode(Image.new("RGB", (800, 640)), ".jpg")
    assert loader.decode(data, 100, "").size == (400, 320)
    assert loader.decode(data, 400, "").size == (800, 640)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no image format that Pillow knows"),
        (b"<svg></svg>", "no image format that Pillow knows"),
        (b"\xff\xd8\xff\xe0", "no image format that Pillow knows"),
        (b"\x89PNG\r\n\x1a\nxxxx", "Truncated File Read|no image format that Pillow knows"),
    ],
)
def test_what_is_not_an_image_is_refused_in_one_line(data, reason):
    with pytest.raises(loader.UnreadableImageError, match=rf"^a\.jpg: not a readable image \((?:{reason})\)$"):
        loader.decode(data, 16, "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_image_is_refused(encode, draw_picture, suffix, share):
    data = encode(draw_picture(GREEN, 1), suffix)
    with pytest.raises(loader.UnreadableImageError, match=r"^x: not a readable image \([^\n]+\)$"):
        loader.decode(data[: int(share * len(data))], 16, "x")


def test_an_image_above_pillows_limit_is_refused(encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encode(Image.new("1", (15, 15)), ".png")
    with pytest.raises(loader.UnreadableImageError, match="exceeds limit of 200 pixels"):
        loader.decode(data, 16, "x")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".ppm"])
def test_damage_gives_an_image_or_a_refusal_and_nothing_else(encode, draw_picture, suffix):
    data, rng, refusals = encode(draw_picture(BLUE, 2), suffix), random.Random(0), []
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        try:
            loader.decode(bytes(damaged), 16, "x")
        except loader.UnreadableImageError as error:
            refusals.append(str(error))
    assert refusals
    assert not [refusal for refusal in refusals if "\n" in refusal]


STRIPES = np.zeros((2, 4, 3), np.uint8)
STRIPES[:] = [[[10] * 3, [20] * 3, [30] * 3, [40] * 3]]


def resized(size, resize):
    return np.asarray(loader.resized(Image.fromarray(STRIPES), size, resize))[..., 0]


def test_squash_shows_all_of_the_image():
    # Made smaller, a pixel also takes a little of what is just outside it: (3 * 10 + 3 * 20 + 30) / 7.
    np.testing.assert_array_equal(resized(2, "squash"), [[17, 33], [17, 33]])


def test_crop_shows_the_largest_square_of_the_middle():
    np.testing.assert_array_equal(resized(2, "crop"), [[20, 30], [20, 30]])


def test_pad_shows_all_of_the_image_between_black_bars():
    np.testing.assert_array_equal(resized(4, "pad"), [[0] * 4, [10, 20, 30, 40], [10, 20, 30, 40], [0] * 4])


def test_crop_or_pad_scales_nothing():
    np.testing.assert_array_equal(resized(2, "crop_or_pad"), [[20, 30], [20, 30]])
    framed = np.zeros((6, 6))
    framed[2:4, 1:5] = [10, 20, 30, 40]
    np.testing.assert_array_equal(resized(6, "crop_or_pad"), framed)


@pytest.mark.parametrize("resize", loader.RESIZERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (17, 33)])
def test_every_way_of_resizing_takes_any_image(resize, shape):
    assert loader.resized(Image.new("RGB", shape), 16, resize).size == (16, 16)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((40, 20), (16, 8)), ((20, 40), (8, 16)), ((30, 30), (8, 8)), ((500, 20), (16, 8)), ((1, 9), (8, 16))],
)
def test_the_shorter_side_is_as_asked_and_the_other_one_at_most_twice_as_long(shape, expected):
    assert loader.with_shorter_side(Image.new("RGB", shape), 8).size == expected


def test_the_middle_of_a_long_image_is_kept_at_the_same_scale_along_both_sides():
    middle = loader.with_shorter_side(Image.fromarray(STRIPES).crop((0, 0, 3, 2)), 2)
    assert np.asarray(middle)[0, :, 0].tolist() == [10, 20, 30]
    np.testing.assert_array_equal(loader.with_shorter_side(Image.fromarray(STRIPES), 2), STRIPES)


def columns_of(crops):
    return [np.asarray(crop)[0, :, 0].tolist() for crop in crops]


@pytest.mark.parametrize(
    ("width", "count", "expected"),
    [
        (8, 1, [[2, 3, 4, 5]]),
        (8, 2, [[1, 2, 3, 4], [3, 4, 5, 6]]),
        # Longer than twice its height: only its middle.
        (16, 2, [[5, 6, 7, 8], [7, 8, 9, 10]]),
        (4, 2, [[0, 1, 2, 3]]),
    ],
)
def test_crops_are_evenly_spread_along_the_longer_side(width, count, expected):
    stripes = np.tile(np.arange(width, dtype=np.uint8)[np.newaxis, :, np.newaxis], (4, 1, 3))
    found = columns_of(loader.crops(Image.fromarray(stripes), 4, "crop", count))
    assert found == expected
    upright = loader.crops(Image.fromarray(stripes.transpose(1, 0, 2)), 4, "crop", count)
    assert columns_of(crop.transpose(Image.Transpose.TRANSPOSE) for crop in upright) == found


@pytest.mark.parametrize("resize", ["squash", "pad", "crop_or_pad"])
def test_there_is_one_crop_if_the_image_is_not_cropped(resize):
    (found,) = loader.crops(Image.fromarray(STRIPES), 2, resize, 2)
    assert found == loader.resized(Image.fromarray(STRIPES), 2, resize)


def test_a_file_is_loaded_as_the_network_sees_it(tmp_path, encode):
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(STRIPES), ".png"))
    loaded = loader.load(tmp_path / "a.png", 2, "crop")
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded[..., 0], [[20, 30], [20, 30]])


def test_a_large_jpeg_that_is_not_scaled_is_decoded_at_its_own_size(tmp_path, encode):
    picture = Image.fromarray(np.repeat(np.arange(640, dtype=np.uint8)[np.newaxis] % 2 * 255, 640, axis=0))
    (tmp_path / "a.jpg").write_bytes(encode(picture, ".jpg", quality=95))
    # Decoded at half its scale the stripes of one pixel would be grey.
    assert np.ptp(loader.load(tmp_path / "a.jpg", 8, "crop_or_pad")) > 200


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(loader.UnreadableImageError, match=r"none\.jpg: cannot be read \(No such file or directory\)$"):
        loader.load(tmp_path / "none.jpg", 16, "squash")


@pytest.mark.parametrize(("name", "is_image"), [("A.JPG", True), ("b.jpeg", True), ("c.txt", False), (".d.jpg", False)])
def test_the_suffix_makes_an_image_name_in_either_case_unless_hidden(tmp_path, name, is_image):
    assert loader.is_image_name(tmp_path / name) is is_image
