"""The image table: data/split.csv with the classes of data/classes.json."""

from pathlib import Path

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.core.files import read_rows, write_json, write_rows
from graft.images.table import COLUMNS, read_image_table

SPLIT, CLASSES = Path("data/split.csv"), Path("data/classes.json")
ROWS = [
    ("a/1.jpg", "a", "train", "11", "f1"),
    ("b/1.jpg", "b", "validation", "22", "f2"),
    ("b/2.jpg", "b", "train", "33", "f3"),
    ("c/1 ü.jpg", "c", "test", "44", "f1"),
]
AGAIN = r"run `dvc repro`$"


@pytest.fixture
def write(project):
    """Return a function that writes the two files of the table."""

    def write(rows=ROWS, classes=("a", "b", "c")):
        write_rows(SPLIT, COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows])
        write_json(CLASSES, classes)

    return write


def test_every_column_is_an_array_in_the_order_of_the_file(write):
    write()
    table = read_image_table()
    assert len(table) == 4
    assert table.paths.tolist() == ["a/1.jpg", "b/1.jpg", "b/2.jpg", "c/1 ü.jpg"]
    assert table.parts.tolist() == ["train", "validation", "train", "test"]
    assert table.sha256.tolist() == ["11", "22", "33", "44"]
    assert table.groups.tolist() == ["f1", "f2", "f3", "f1"]
    assert table.files()[3] == Path("data/raw/c/1 ü.jpg")


@pytest.mark.parametrize(
    ("classes", "labels"),
    [(["a", "b", "c"], [0, 1, 1, 2]), (["c", "b", "a"], [2, 1, 1, 0]), (["b", "a", "c"], [1, 0, 0, 2])],
)
def test_a_label_is_the_place_of_its_class_in_the_order_of_classes_json(write, classes, labels):
    write(classes=classes)
    table = read_image_table()
    assert table.classes == tuple(classes)
    assert table.labels.dtype == np.int64
    assert table.labels.tolist() == labels


def test_a_part_has_its_images_in_order_and_all_classes(write):
    write()
    train = read_image_table().part("train")
    assert train.paths.tolist() == ["a/1.jpg", "b/2.jpg"]
    assert train.labels.tolist() == [0, 1]
    assert set(train.parts) == {"train"}
    assert train.classes == ("a", "b", "c")


def test_the_parts_have_every_image_once(write):
    write()
    table = read_image_table()
    paths = [path for part in ("train", "validation", "test") for path in table.part(part).paths]
    assert sorted(paths) == sorted(table.paths)


def test_images_can_be_taken_in_any_order(write):
    write()
    taken = read_image_table().take(np.array([3, 0, 3]))
    assert taken.paths.tolist() == ["c/1 ü.jpg", "a/1.jpg", "c/1 ü.jpg"]
    assert taken.labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize("missing", [SPLIT, CLASSES])
def test_a_missing_file_is_one_line(write, missing):
    write()
    missing.unlink()
    with pytest.raises(GraftError, match=rf"^{missing}: no such file; `dvc repro` writes it$"):
        read_image_table()


@pytest.mark.parametrize(
    ("classes", "differing"), [(["a", "b"], "c"), (["a", "b", "c", "d"], "d"), (["a", "b", "C"], "C"), ([], "a")]
)
def test_files_that_disagree_about_the_classes_are_one_line(write, classes, differing):
    write(classes=classes)
    message = rf"^data/classes\.json: it and data/split\.csv do not both have class '{differing}'; {AGAIN}"
    with pytest.raises(GraftError, match=message):
        read_image_table()


@pytest.mark.parametrize("classes", [{"a": 0, "b": 1, "c": 2}, "abc", [1, 2, 3], None])
def test_another_json_file_is_no_list_of_classes(write, classes):
    write(classes=classes)
    with pytest.raises(GraftError, match=rf"^data/classes\.json: not a list of classes; {AGAIN}"):
        read_image_table()


@pytest.mark.parametrize("text", ["", "path,label\na/1.jpg,a\n", "path,label,split,sha256,group\n", "\x00"])
def test_another_file_is_no_table(write, text):
    write()
    SPLIT.write_text(text)
    with pytest.raises(GraftError, match=rf"^data/split\.csv: broken, or not the table that split writes; {AGAIN}"):
        read_image_table()


def test_a_table_that_ends_within_a_row_is_refused(write):
    write()
    SPLIT.write_text(SPLIT.read_text().removesuffix(",44,f1\n"))
    assert len(read_rows(SPLIT)) == 4
    with pytest.raises(GraftError, match=rf"^data/split\.csv: broken, or not the table that split writes; {AGAIN}"):
        read_image_table()


@pytest.mark.parametrize("part", ["", "dev"])
def test_an_image_without_a_part_is_refused(write, part):
    write([*ROWS, ("c/2.jpg", "c", part, "55", "f5")])
    with pytest.raises(GraftError, match=rf"^data/split\.csv: broken, or not the table that split writes; {AGAIN}"):
        read_image_table()


def test_a_file_for_the_same_classes_is_accepted(write):
    write()
    read_image_table().require_classes(["a", "b", "c"], Path("models/head.npz"))


@pytest.mark.parametrize(
    ("classes", "difference"),
    [
        (["a", "c", "b"], "class 2 is 'c', not 'b'"),
        (["a", "b", "d"], "class 3 is 'd', not 'c'"),
        (["a", "b"], "class 3 is none, not 'c'"),
        (["a", "b", "c", "d"], "class 4 is 'd', not none"),
    ],
)
def test_a_file_for_other_classes_is_refused_with_the_first_difference(write, classes, difference):
    write()
    message = rf"^models/head\.npz: made for other classes than data/classes\.json: {difference}; {AGAIN}"
    with pytest.raises(GraftError, match=message):
        read_image_table().require_classes(classes, Path("models/head.npz"))
