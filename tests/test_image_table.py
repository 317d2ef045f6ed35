"""The image table: data/split.csv with the classes of data/classes.json."""

from pathlib import Path

import numpy as np
import pytest

from graft.activations.requests import Request
from graft.activations.split_requests import TableRequests
from graft.core.errors import GraftError
from graft.core.files import read_rows, write_json, write_rows
from graft.images.table import COLUMNS, read_image_table, with_few_for_validation

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


def test_of_many_validation_images_some_are_used_evenly_spread_and_a_line_says_how_many(write, capsys):
    parts = ["train", *["validation"] * 9, "test"]
    write([(f"a/{number:02d}.jpg", "a", part, f"{number}", f"{number}") for number, part in enumerate(parts)], ("a",))
    table = read_image_table()
    few = with_few_for_validation(table, 3)
    assert few.paths.tolist() == ["a/00.jpg", "a/01.jpg", "a/05.jpg", "a/09.jpg", "a/10.jpg"]
    assert capsys.readouterr().out == "limits.rows_in_memory: 3 of 9 validation images are used\n"
    assert with_few_for_validation(table, 9) is table
    assert capsys.readouterr().out == ""


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


ODD = [*ROWS, ('c/a, "b".jpg', "c", "train", "55", "f5"), (f"c/{'long' * 400}.jpg", "c", "test", "66", "f6")]


def test_texts_are_read_from_the_file_when_they_are_asked_for(write):
    write(ODD)
    table = read_image_table()
    assert table.paths[4] == 'c/a, "b".jpg'
    assert table.paths[np.int64(5)] == ODD[5][0]
    assert list(table.paths[1:3]) == ["b/1.jpg", "b/2.jpg"]
    assert np.asarray(table.sha256).tolist() == ["11", "22", "33", "44", "55", "66"]
    assert np.unique(table.groups).tolist() == ["f1", "f2", "f3", "f5", "f6"]
    assert list(table.take(np.array([5, 0])).each_file()) == [Path("data/raw") / ODD[5][0], Path("data/raw/a/1.jpg")]
    assert np.asarray(table.take(np.array([], int)).paths).tolist() == []


def test_a_table_stays_that_of_its_file_when_split_writes_another(write):
    write()
    table = read_image_table()
    write(ODD[::-1])
    assert table.paths.tolist() == [row[0] for row in ROWS]
    assert table.part("test").groups.tolist() == ["f1"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory from /proc")
def test_a_row_takes_few_bytes_of_memory(write, project, run_python):
    """200,000 rows of 100 letters: 40 MB as text in memory, 5 MB as they are here."""
    rows = (
        ("a/" + f"{number:0100d}", "abc"[number % 3], "train", f"{number:064x}", "0" * 16) for number in range(200_000)
    )
    write(rows)
    code = """
import re
from pathlib import Path
import numpy as np
from graft.images.table import read_image_table
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
table = read_image_table()
assert sum(1 for _ in table.part("train").each_file()) == 200_000
print((peak() - before) // 1024)
"""
    result = run_python("-c", code, folder=project.folder)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 25


def test_requests_are_made_of_a_table_when_they_are_asked_for(write):
    write()
    requests = TableRequests(read_image_table())
    expected = [Request(Path("data/raw") / path, sha256) for path, _, _, sha256, _ in ROWS]
    assert list(requests) == expected
    assert (len(requests), requests[np.int64(3)], list(requests[1:3])) == (4, expected[3], expected[1:3])
