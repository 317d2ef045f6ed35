"""Each image file is read once: its hashes, or why it is refused; and what a whole data set must have."""

import hashlib
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.data.checked_images import CheckedImage, CheckedImages, check_image, check_images, require_complete
from graft.data.copies import Fingerprint
from graft.data.folders import ImageFile, find_images
from graft.images.decoder import MAX_PIXELS
from graft.settings.datasets import Entry

GREEN = (50, 180, 60)


@pytest.fixture
def check(tmp_path):
    """Return a function that writes an image file and checks it; without content, there is no file."""

    def write_and_check(content, name="a/1.jpg"):
        path = Path(os.fsdecode(tmp_path), name)
        path.parent.mkdir(exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        return check_image(tmp_path, ImageFile(Path(name), "a", ""), MAX_PIXELS)

    return write_and_check


@pytest.fixture
def groups(tmp_path):
    """Return a function that writes image files and gives the number of their groups."""

    def count(contents):
        files = [ImageFile(Path(f"{number}.jpg"), "a", "") for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            (tmp_path / file.path).write_bytes(content)
        images = check_images(tmp_path, files, temporary(tmp_path), MAX_PIXELS)
        assert images.groups() == len({image.group for image in images})
        return images.groups()

    return count


def temporary(folder):
    """Return a new folder for what `check_images` writes."""
    return Path(tempfile.mkdtemp(dir=folder))


def test_a_readable_image_has_the_checksum_of_its_bytes(check, encode, draw_picture):
    data = encode(draw_picture(GREEN, 1), ".png")
    image = check(data)
    assert image.refused == ""
    assert image.sha256 == hashlib.sha256(data).hexdigest()


def test_copies_in_other_formats_are_one_group(groups, encode, draw_picture):
    picture = draw_picture(GREEN, 1)
    assert groups([encode(picture, suffix) for suffix in (".png", ".bmp", ".tif")]) == 1


def test_an_image_and_its_upright_copy_are_one_group(groups, encode, draw_picture):
    picture = draw_picture(GREEN, 1)
    exif = picture.getexif()
    exif[0x0112] = 3
    turned = encode(picture.rotate(180), ".png", exif=exif)
    assert groups([turned, encode(picture, ".png")]) == 1


def test_byte_for_byte_copies_are_one_group_and_other_pictures_others(groups, encode, draw_picture):
    contents = [encode(draw_picture(GREEN, number), ".png") for number in range(20)]
    assert groups(contents * 2) == 20


def by_name(folder, contents):
    """Write image files, with their names as keys, and return their groups by name."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    images = check_images(folder, [ImageFile(Path(name), "a", "") for name in contents], temporary(folder), MAX_PIXELS)
    return {image.file.path.name: image.group for image in images}


@pytest.fixture
def pictures(encode, draw_picture):
    """Image files of ten pictures, large enough for a JPEG copy to be smaller."""
    return {f"{number}.png": encode(draw_picture(GREEN, number, 200), ".png") for number in range(10)}


def test_images_that_are_no_copies_do_not_change_a_group(tmp_path, pictures):
    few = dict(list(pictures.items())[:5])
    assert by_name(tmp_path, few).items() <= by_name(tmp_path, pictures).items()


def test_a_smaller_copy_changes_no_group(tmp_path, pictures, encode, draw_picture):
    copies = {f"{number}.jpg": encode(draw_picture(GREEN, number, 100), ".jpg") for number in range(10)}
    before, after = by_name(tmp_path, pictures), by_name(tmp_path, copies | pictures)
    assert before.items() <= after.items()
    assert [after[f"{number}.jpg"] for number in range(10)] == list(before.values())


def test_a_larger_copy_changes_the_group_of_its_picture_alone(tmp_path, pictures, encode, draw_picture):
    copy = {"copy.bmp": encode(draw_picture(GREEN, 3, 200), ".bmp")}
    before, after = by_name(tmp_path, pictures), by_name(tmp_path, pictures | copy)
    assert {name for name in before if before[name] != after[name]} == {"3.png"}
    assert after["3.png"] == after["copy.bmp"]


def test_names_order_and_classes_change_no_group(tmp_path, pictures):
    contents = pictures | {"copy.png": pictures["4.png"]}
    assert by_name(tmp_path, dict(reversed(contents.items()))) == by_name(tmp_path, contents)


def test_a_refused_image_has_no_group(tmp_path, pictures):
    groups = by_name(tmp_path, {"damaged.png": pictures["1.png"][:200]} | pictures)
    assert [name for name, group in groups.items() if not group] == ["damaged.png"]


def test_a_row_has_all_columns(tmp_path, encode, draw_picture):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").write_bytes(encode(draw_picture(GREEN, 1), ".png"))
    (image,) = check_images(tmp_path, [ImageFile(Path("a/1.jpg"), "a", "")], tmp_path, MAX_PIXELS)
    assert image.group == image.sha256[:16]
    expected = {"path": "a/1.jpg", "label": "a", "split": "", "sha256": image.sha256, "group": image.group}
    assert image.row() == expected


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_refused_with_the_reason(check, content):
    assert check(content).refused.startswith("not a readable image (")


def test_a_truncated_image_is_refused(check, encode, draw_picture):
    data = encode(draw_picture(GREEN, 1), ".jpg")
    assert "runcated" in check(data[: len(data) // 2]).refused
    assert "runcated" in check(data[:-20]).refused


def test_a_missing_file_is_refused(check):
    assert check(None).refused == "cannot be read (No such file or directory)"


def test_a_name_with_a_line_end_is_refused(check):
    assert check(b"", "a/1\r.jpg").refused == "its name has a control character"


def test_a_name_that_is_not_utf_8_is_refused(check, encode, draw_picture):
    data = encode(draw_picture(GREEN, 1), ".png")
    assert check(data, os.fsdecode(b"a/\xff.png")).refused == "its name is not UTF-8"


def test_images_come_back_in_the_order_given(image_folder, tmp_path):
    files = list(find_images(image_folder, "photos"))
    assert [image.file for image in check_images(image_folder, files, tmp_path, MAX_PIXELS)] == files


def test_memory_does_not_grow_with_the_images(tmp_path):
    random = np.random.default_rng(0)

    def images(count):
        for number in range(count):
            hashes = (f"{2 * number:06x}", f"{2 * number + 1:06x}")
            one = Fingerprint(hashes, random.integers(0, 256, 1152, np.uint8), 8.0)
            sha256 = hashlib.sha256(str(number).encode()).hexdigest()
            yield CheckedImage(ImageFile(Path(f"a/{number}.jpg"), "a", ""), sha256, 1000, fingerprint=one)

    def peak(count):
        tracemalloc.start()
        checked = CheckedImages(images(count), temporary(tmp_path))
        assert sum(image.group == image.sha256[:16] for image in checked) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(4000) - peak(2000) < 2000 * 25


@pytest.mark.parametrize("counts", [{"images": 37, "classes": 3}, {"images": 36, "classes": 4}])
def test_counts_must_be_those_of_the_catalog(image_folder, tmp_path, counts):
    images = check_images(image_folder, list(find_images(image_folder, "photos")), tmp_path, MAX_PIXELS)
    require_complete(images, Entry(images=36, classes=3), strict=False, dataset="photos")
    with pytest.raises(GraftError, match=r"^photos: (36 images|3 classes) found, but its catalog entry says (37|4)$"):
        require_complete(images, Entry(**counts), strict=False, dataset="photos")


def test_the_counts_of_the_catalog_include_the_images_that_are_refused():
    files = [ImageFile(Path(f"{label}/{number}.jpg"), label, "") for label in "ab" for number in range(2)]
    images = [CheckedImage(file, refused="damaged" if file.path.name == "1.jpg" else "") for file in files]
    require_complete(images, Entry(images=4, classes=2), strict=False, dataset="photos")


def test_a_class_whose_images_are_all_refused_is_an_error_with_the_reason_of_the_first(check):
    images = [
        CheckedImage(ImageFile(Path("a/1.jpg"), "a", "")),
        CheckedImage(ImageFile(Path("b\t/1.jpg"), "b\t", ""), refused="its name has a control character"),
    ]
    with pytest.raises(
        GraftError,
        match=r"^x: no readable image in class folder 'b\\t'; .*; the first image of 'b\\t' is refused: its name",
    ):
        require_complete(images, Entry(), False, "x")
