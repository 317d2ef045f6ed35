"""Images to measure with, and the scripts that make the data sets of docs/accuracy.md."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import few_images, letters, other_sets, photographs
from benchmarks.harness import sides


def given(*arguments):
    return sides.parsed(sides.parser("What is measured."), [str(argument) for argument in arguments])


def test_items_are_chosen_evenly():
    assert photographs.spread("abcdefgh", 4) == ["a", "c", "e", "g"]
    assert photographs.spread("ab", 4) == ["a", "b"]


def test_images_are_generated_in_classes_of_one_size(tmp_path):
    options = given("--images", 10)
    paths = photographs.bring(tmp_path, options)
    assert [path.relative_to(tmp_path).as_posix() for path in paths][:3] == [
        "class_0/000000.jpg",
        "class_0/000005.jpg",
        "class_1/000001.jpg",
    ]
    assert len({path.read_bytes() for path in paths}) == 10


def test_images_come_from_an_archive_as_many_as_it_has(tmp_path):
    made = photographs.bring(tmp_path / "made", given("--images", 10))
    archive = photographs.packed(tmp_path / "made", tmp_path / "photographs.tar")
    few, many = given("--archive", archive, "--images", 5), given("--archive", archive, "--images", 99)
    assert len(photographs.bring(tmp_path / "few", few)) == 5
    found = photographs.bring(tmp_path / "many", many)
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in made]
    assert many.images == 10


def test_copies_differ_in_bytes_and_not_in_pixels(tmp_path):
    original = photographs.bring(tmp_path / "made", given("--images", 1))
    photographs.copies(original, tmp_path / "copies", 3)
    copies = sorted((tmp_path / "copies").rglob("*.jpg"))
    assert len({path.read_bytes() for path in copies}) == 3
    assert {Image.open(path).convert("RGB").tobytes() for path in copies} == {
        Image.open(original[0]).convert("RGB").tobytes()
    }


def test_a_set_is_the_pictures_of_a_package_by_class_without_small_classes_and_relief_maps(tmp_path, monkeypatch):
    root = tmp_path / "unpacked/textures/nature"
    root.mkdir(parents=True)
    names = [f"{kind}{number}.jpg" for kind, count in (("brick", 12), ("grass", 11)) for number in range(count)]
    for name in [*names, "brick0_nm.jpg", "brick.txt", "window.jpg", "brick_on_grass.tga"]:
        (root / name).write_text(name)
    monkeypatch.setattr("sys.argv", ["other_sets", "textures", str(tmp_path / "unpacked"), str(tmp_path / "sets")])
    other_sets.main()
    found = sorted((tmp_path / "sets").rglob("*.*"))
    assert [path.relative_to(tmp_path / "sets").as_posix() for path in found] == sorted(
        f"brick/nature-brick{number}.jpg" for number in range(12)
    )


def test_a_package_that_is_not_unpacked_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["other_sets", "stamps", str(tmp_path), str(tmp_path / "sets")])
    with pytest.raises(SystemExit, match=r"^error: \S+: no such folder; unpack there Debian tuxpaint-stamps\S+ \S+$"):
        other_sets.main()


@pytest.mark.parametrize(("script", "arguments"), [(other_sets, ["stamps"]), (letters, [])])
def test_a_folder_that_exists_is_not_written_into(script, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [script.__name__, *arguments, str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: \S+: it exists already; give a new folder$"):
        script.main()


@pytest.mark.parametrize(
    ("options", "classes", "some"),
    [
        ([], 47, {"digit zero", "latin capital letter a", "latin small letter a"}),
        (["--characters", "ascii"], 94, {"latin small letter c", "full stop", "solidus"}),
    ],
)
def test_every_typeface_is_drawn_once_and_is_in_one_part(options, classes, some, tmp_path, monkeypatch):
    fonts = Path(matplotlib.get_data_path(), "fonts/ttf")
    monkeypatch.setattr("sys.argv", ["letters", str(fonts), str(tmp_path / "set"), *options])
    letters.main()
    by_part = {part: {path.name for path in (tmp_path / "set" / part).glob("*/*.png")} for part in ("train", "test")}
    assert not by_part["train"] & by_part["test"]
    assert {"DejaVu Sans.png", "DejaVu Serif.png", "STIXGeneral.png"} <= by_part["train"] | by_part["test"]
    pictures = {path.parent.name: path for path in tmp_path.glob("set/*/*/DejaVu Sans.png")}
    assert len(pictures) == classes
    assert some <= set(pictures)
    pixels = {np.asarray(Image.open(path)).tobytes() for path in pictures.values()}
    assert len(pixels) == classes


def test_a_folder_without_a_font_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["letters", str(tmp_path), str(tmp_path / "set")])
    with pytest.raises(SystemExit, match=r"^error: \S+: no \.otf and no \.ttf file below it$"):
        letters.main()


def sets_of(tmp_path, monkeypatch, *options):
    """Return the names of ten files a class by part and class, where a file's name is its content."""
    for name in (f"{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(10)):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_text(name)
    arguments = ["few_images", tmp_path / "images", tmp_path / "set", *options]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in arguments])
    few_images.main()
    folders = sorted((tmp_path / "set").glob("*/*"))
    return {folder.relative_to(tmp_path / "set").as_posix(): {f.name for f in folder.iterdir()} for folder in folders}


def test_sets_with_few_images_or_unequal_classes_are_tested_alike(tmp_path, monkeypatch):
    few = sets_of(tmp_path / "few", monkeypatch, "--train", 2, "--test-from", 6)
    unequal = sets_of(tmp_path / "unequal", monkeypatch, "--train", 6, 1, "--test-from", 6)
    assert {folder: len(names) for folder, names in few.items()} == {
        "test/cat": 4,
        "test/dog": 4,
        "train/cat": 2,
        "train/dog": 2,
    }
    assert (len(unequal["train/cat"]), len(unequal["train/dog"])) == (6, 1)
    assert few["train/cat"] < unequal["train/cat"]
    for kind in ("cat", "dog"):
        assert few[f"test/{kind}"] == unequal[f"test/{kind}"]
        assert not few[f"test/{kind}"] & unequal[f"train/{kind}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train", "2", "--test-from", "10"), "10 images are not enough for --train 2 and --test-from 10"),
        (("--train", "1", "2", "3", "--test-from", "5"), "--train: 3 numbers for 2 classes; give one for each"),
    ],
)
def test_a_set_with_few_images_that_cannot_be_made_is_refused_in_a_line(tmp_path, monkeypatch, options, message):
    with pytest.raises(SystemExit, match=message):
        sets_of(tmp_path, monkeypatch, *options)


def test_a_set_is_made_of_class_folders_and_never_in_a_folder_that_exists(tmp_path, monkeypatch):
    for images, folder, message in (
        (tmp_path / "none", tmp_path / "new", f"error: {tmp_path}/none: no folder of class folders"),
        (tmp_path, tmp_path, f"error: {tmp_path}: it exists already; give a new folder"),
    ):
        arguments = ["few_images", str(images), str(folder), "--train", "1", "--test-from", "1"]
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit, match=f"^{re.escape(message)}$"):
            few_images.main()
