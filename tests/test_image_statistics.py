"""The statistics that download writes of each image, from the picture that it decodes anyway."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from graft.core import paths
from graft.core.files import read_rows
from graft.data.checked_images import check_image
from graft.data.folders import ImageFile
from graft.data.image_statistics import COLUMNS, image_statistics
from graft.images.decoder import MAX_PIXELS
from stages import download, resolve


def statistics(picture, size=None, kind="PNG", length=1):
    return image_statistics(picture, size or picture.size, kind, length)


def grey(level, size=(64, 48)):
    return Image.new("RGB", size, (level, level, level))


@pytest.mark.parametrize(("level", "brightness"), [(0, 0), (51, 0.2), (255, 1)])
def test_brightness_is_the_mean_grey_level_from_0_to_1(level, brightness):
    assert statistics(grey(level)).brightness == brightness


def test_a_picture_of_one_colour_has_no_sharpness_and_no_information():
    found = statistics(grey(90))
    assert (found.sharpness, found.entropy) == (0, 0)


def test_entropy_is_in_bits():
    halves = grey(0)
    halves.paste(grey(255, (32, 48)), (0, 0))
    assert statistics(halves).entropy == 1


def test_a_blurred_picture_is_less_sharp_and_a_larger_one_about_as_sharp():
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    sharp = statistics(picture).sharpness
    assert statistics(picture.filter(ImageFilter.GaussianBlur(2))).sharpness < sharp / 10
    assert statistics(picture.resize((512, 512), Image.Resampling.NEAREST)).sharpness == sharp


@pytest.mark.parametrize("size", [(1, 1), (2, 200), (1, 3)])
def test_a_picture_of_few_pixels_has_statistics_too(size):
    assert statistics(grey(100, size)).sharpness == 0


def test_width_and_height_are_those_of_the_upright_picture_in_the_file(tmp_path, encode):
    picture = Image.new("RGB", (900, 600), (90, 90, 90))
    exif = picture.getexif()
    exif[0x0112] = 6
    (tmp_path / "1.jpg").write_bytes(encode(picture, ".jpg", exif=exif))
    found = check_image(tmp_path, ImageFile(tmp_path / "1.jpg", "a", ""), MAX_PIXELS).statistics
    assert (found.width, found.height, found.format) == (600, 900, "JPEG")
    assert found.bytes == (tmp_path / "1.jpg").stat().st_size


def test_the_stage_writes_a_row_for_each_image_that_is_kept(project, image_folder):
    (image_folder / "red/broken.jpg").write_bytes(b"no image")
    project.set(dataset=str(image_folder))
    resolve.main()
    download.main()
    rows = read_rows(paths.IMAGE_STATISTICS)
    assert [row["path"] for row in rows] == [row["path"] for row in read_rows(paths.IMAGES)]
    assert tuple(rows[0]) == COLUMNS
    assert {(row["width"], row["height"], row["format"]) for row in rows} == {("24", "24", "JPEG"), ("24", "24", "PNG")}
