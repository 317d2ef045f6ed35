"""Folders of images: which are classes and parts, and what each file is or why it is refused."""

import hashlib
import os
from pathlib import Path

import pytest

from graft.core.errors import GraftError
from graft.data import folders
from graft.data.folders import Found

GREEN = (50, 180, 60)


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes empty files of those names below a folder."""

    def make(*names):
        for name in names:
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.touch()
            else:
                path.mkdir(exist_ok=True)
        return tmp_path / "tree"

    return make


def found(folder):
    return [(image.path.as_posix(), image.label, image.split) for image in folders.find_images(folder, "photos")]


def test_the_folders_are_the_classes(tree):
    assert found(tree("b/1.jpg", "a/2.png")) == [("a/2.png", "a", ""), ("b/1.jpg", "b", "")]


def test_images_are_sorted_by_path_whatever_the_file_system_says(tree):
    names = ["b/10.jpg", "b/9.jpg", "a b/1.jpg", "a/1.jpg", "a-b/1.jpg"]
    assert [path for path, _, _ in found(tree(*names))] == sorted(names)


def test_names_may_have_spaces_and_any_script_and_suffixes_any_case(tree):
    assert found(tree("雏菊/图 1.JPG", "red rose/é.Png")) == [
        ("red rose/é.Png", "red rose", ""),
        ("雏菊/图 1.JPG", "雏菊", ""),
    ]


def test_a_class_folder_may_have_folders_of_its_own(tree):
    assert found(tree("a/2019/1.jpg", "a/2.jpg", "b/3.jpg"))[0] == ("a/2.jpg", "a", "")


def test_hidden_files_and_folders_and_other_files_are_no_images(tree):
    images = ["a/1.jpg", "b/1.jpg"]
    others = ["LICENSE.txt", "a/notes.txt", "a/.hidden.jpg", "a/._1.jpg", "a/.thumbnails/1.jpg", ".git/1.jpg"]
    others += ["__MACOSX/a/1.jpg", "a/__MACOSX/1.jpg", "cover.jpg"]
    assert [path for path, _, _ in found(tree(*images, *others))] == images


@pytest.mark.parametrize(
    ("part", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "validation"),
        ("valid", "validation"),
        ("validation", "validation"),
        ("test", "test"),
        ("TEST", "test"),
    ],
)
def test_the_parts_that_a_data_set_brings_are_kept(tree, part, split):
    folder = tree("train/a/0.jpg", "train/b/0.jpg", f"{part}/a/1.jpg")
    assert (f"{part}/a/1.jpg", "a", split) in found(folder)


def test_classes_that_are_called_like_parts_are_classes_if_others_are_not(tree):
    assert [label for _, label, _ in found(tree("test/1.jpg", "control/1.jpg"))] == ["control", "test"]


def test_a_folder_beside_the_parts_is_refused_rather_than_taken_for_a_class(tree):
    with pytest.raises(GraftError, match=r"^photos: beside test/ there is extra/, which is no part"):
        found(tree("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "extra/1.jpg"))


def test_unlabelled_images_in_a_part_are_left_out(tree):
    assert len(found(tree("train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"))) == 2


def test_parts_without_training_are_refused(tree):
    with pytest.raises(GraftError, match=r"^photos: it has test, val, but no train/ folder$"):
        found(tree("test/a/1.jpg", "val/b/1.jpg"))


@pytest.mark.parametrize(
    ("names", "count"), [([], "0 class folders"), (["a/1.jpg"], "1 class folder"), (["1.jpg"], "0 class folders")]
)
def test_fewer_than_two_classes_are_refused(tree, names, count):
    with pytest.raises(GraftError, match=rf"^photos: {count} found; it must hold two or more, or train/"):
        found(tree("other.txt", *names))


def test_a_class_folder_without_any_image_is_refused(tree):
    with pytest.raises(
        GraftError, match=r"^photos: no readable image in class folder 'c', 'd'; fill or remove it \(known are"
    ):
        found(tree("a/1.jpg", "b/1.jpg", "c/", "d/notes.txt"))


def test_a_class_may_be_missing_from_a_part(tree):
    assert len(found(tree("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/"))) == 3


@pytest.mark.parametrize("wrapper", ["", "flower_photos/", "outer/inner/"])
def test_the_top_is_below_folders_that_only_wrap(tree, wrapper):
    folder = tree(f"{wrapper}a/1.jpg", f"{wrapper}b/1.jpg", "__MACOSX/x.jpg", ".DS_Store", "README.md")
    assert folders.top(folder) == folder / wrapper


def test_a_wrapper_may_hold_parts(tree):
    folder = tree("set/train/a/1.jpg", "set/train/b/1.jpg", "set/test/a/1.jpg")
    assert folders.top(folder) == folder / "set"


def test_a_single_class_is_no_wrapper(tree):
    folder = tree("a/1.jpg")
    assert folders.top(folder) == folder


@pytest.fixture
def examine(tmp_path):
    def examined(content, name="a/1.jpg"):
        path = Path(os.fsdecode(tmp_path), name)
        path.parent.mkdir(exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        return folders.examine(tmp_path, Found(Path(name), "a", ""))

    return examined


def test_a_readable_image_has_the_checksum_of_its_bytes(examine, encode, draw_picture):
    data = encode(draw_picture(GREEN, 1), ".png")
    image = examine(data)
    assert image.refused == ""
    assert image.sha256 == hashlib.sha256(data).hexdigest()


def test_copies_in_other_formats_are_one_group(examine, encode, draw_picture):
    picture = draw_picture(GREEN, 1)
    groups = {examine(encode(picture, suffix)).group for suffix in (".png", ".bmp", ".tif")}
    assert len(groups) == 1


def test_an_image_and_its_upright_copy_are_one_group(examine, encode, draw_picture):
    picture = draw_picture(GREEN, 1)
    exif = picture.getexif()
    exif[0x0112] = 3
    turned = encode(picture.rotate(180), ".png", exif=exif)
    assert examine(turned).group == examine(encode(picture, ".png")).group


def test_a_row_has_all_columns(examine, encode, draw_picture):
    image = examine(encode(draw_picture(GREEN, 1), ".png"))
    expected = {"path": "a/1.jpg", "label": "a", "split": "", "sha256": image.sha256, "group": image.group}
    assert image.row() == expected


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_refused_with_the_reason(examine, content):
    assert examine(content).refused.startswith("not a readable image (")


def test_a_truncated_image_is_refused(examine, encode, draw_picture):
    data = encode(draw_picture(GREEN, 1), ".jpg")
    assert "runcated" in examine(data[: len(data) // 2]).refused
    assert "runcated" in examine(data[:-20]).refused


def test_a_missing_file_is_refused(examine):
    assert examine(None).refused == "cannot be read (No such file or directory)"


def test_a_name_with_a_line_end_is_refused(examine):
    assert examine(b"", "a/1\r.jpg").refused == "its name has a control character"


def test_a_name_that_is_not_utf_8_is_refused(examine, encode, draw_picture):
    data = encode(draw_picture(GREEN, 1), ".png")
    assert examine(data, os.fsdecode(b"a/\xff.png")).refused == "its name is not UTF-8"
