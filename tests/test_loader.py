"""The image loader: a file's name, and its pixels as the network gets them."""

import numpy as np
import pytest
from PIL import Image

from graft.images import loader

STRIPES = np.zeros((2, 4, 3), np.uint8)
STRIPES[:] = [[[10] * 3, [20] * 3, [30] * 3, [40] * 3]]


@pytest.mark.parametrize("suffix", loader.SUFFIXES)
def test_every_known_suffix_is_a_format_that_can_be_read(tmp_path, encode, draw_picture, suffix):
    if suffix in (".heic", ".heif", ".hif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(draw_picture((0, 255, 0), 1).convert(mode), suffix))
    pixels = loader.load(path, 24, "crop")
    assert pixels.shape == (24, 24, 3)
    assert pixels.dtype == np.uint8


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
