"""graft relabel: a user's corrections of labels, which split applies by the SHA-256 of the image file."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from graft.__main__ import command
from graft.core import paths
from graft.core.errors import GraftError, run
from graft.core.files import read_json, read_rows, write_rows
from graft.data.relabelled import Correction, correct, read_corrections, write_corrections
from graft.images.table import COLUMNS
from graft.report.data_doctor import SUSPECT_COLUMNS
from stages import split

LABELS = ("roses", "tulips")
TABLE = Path("fixed.csv")


def sha256(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def image(number, label=None):
    name = label or LABELS[number % 2]
    return dict(zip(COLUMNS, (f"{name}/{number}.jpg", name, "", sha256(number), sha256(number)[:16]), strict=True))


@pytest.fixture
def images(project):
    """Rows of data/images.csv of a project: 200 images, in turn roses and tulips."""
    rows = [image(number) for number in range(200)]
    write_rows(paths.IMAGES, COLUMNS, rows)
    write_corrections(paths.RELABELLED, {})
    return rows


@pytest.fixture
def run_relabel(capsys):
    """Return a function that runs `graft relabel` on the table; it returns what a process would."""

    def found():
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(lambda: command(["relabel", str(TABLE)]))
        output, code = capsys.readouterr(), ended.value.code
        error = f"{output.err}{code}\n" if isinstance(code, str) else output.err
        return SimpleNamespace(returncode=1 if isinstance(code, str) else code or 0, stdout=output.out, stderr=error)

    return found


@pytest.fixture
def relabel(images, run_relabel):
    """Return a function that writes a table of suspects with corrections by number, and runs the command."""

    def corrected_by(corrected):
        rows = [dict.fromkeys(SUSPECT_COLUMNS, "") | image(number) for number in range(10)]
        rows = [{name: row[name] for name in SUSPECT_COLUMNS} for row in rows]
        for number, label in corrected.items():
            rows[number]["corrected"] = label
        write_rows(TABLE, SUSPECT_COLUMNS, rows)
        return run_relabel()

    return corrected_by


def labels():
    return {row["path"]: row["label"] for row in read_rows(paths.SPLIT)}


def test_a_corrected_label_is_that_of_the_image_after_the_next_split(relabel, capsys):
    found = relabel({3: "roses", 4: "", 5: " roses "})
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("labels corrected: 2, images left out: 0; relabelled.csv now has 2 lines, it had 0.")
    split.main()
    changed = {path: label for path, label in labels().items() if not path.startswith(label)}
    assert changed == {"tulips/3.jpg": "roses", "tulips/5.jpg": "roses"}
    assert "relabelled.csv: labels corrected: 2, images left out: 0" in capsys.readouterr().out


def test_a_dash_leaves_the_image_out(relabel, capsys):
    assert "labels corrected: 0, images left out: 1" in relabel({6: "-"}).stdout
    split.main()
    assert len(labels()) == 199
    assert "roses/6.jpg" not in labels()
    assert "labels corrected: 0, images left out: 1" in capsys.readouterr().out


def test_a_correction_moves_no_image_to_another_part(relabel):
    split.main()
    before = {row["path"]: row["split"] for row in read_rows(paths.SPLIT)}
    relabel({3: "roses"})
    split.main()
    assert {row["path"]: row["split"] for row in read_rows(paths.SPLIT)} == before


def test_a_later_table_adds_corrections_and_replaces_those_of_the_same_images(relabel):
    relabel({3: "roses", 5: "roses"})
    assert "now has 3 lines, it had 2" in relabel({5: "-", 7: "roses"}).stdout
    assert read_corrections(paths.RELABELLED) == {
        sha256(3): Correction("tulips/3.jpg", "roses"),
        sha256(5): Correction("tulips/5.jpg", "-"),
        sha256(7): Correction("tulips/7.jpg", "roses"),
    }


def test_the_label_of_the_folder_takes_a_correction_back(relabel):
    relabel({3: "roses"})
    assert "now has 0 lines, it had 1" in relabel({3: "tulips"}).stdout
    assert paths.RELABELLED.read_text() == "path,sha256,label\n"


def test_a_correction_holds_where_the_file_has_moved(images, capsys):
    write_corrections(paths.RELABELLED, {sha256(3): Correction("tulips/3.jpg", "roses")})
    moved = [row | {"path": f"new/{row['path']}"} for row in images]
    write_rows(paths.IMAGES, COLUMNS, moved)
    split.main()
    assert labels()["new/tulips/3.jpg"] == "roses"


def test_one_correction_mends_both_of_two_copies_under_two_labels(images, run_relabel):
    write_rows(paths.IMAGES, COLUMNS, [*images, image(3, "roses")])
    TABLE.write_text("path,corrected\nroses/3.jpg,roses\n")
    assert run_relabel().returncode == 0
    split.main()
    assert (labels()["tulips/3.jpg"], labels()["roses/3.jpg"]) == ("roses", "roses")


@pytest.mark.parametrize("label", ["roses", "-"])
def test_an_exact_copy_that_the_table_does_not_name_is_counted_and_named(images, run_python, project, capsys, label):
    write_rows(paths.IMAGES, COLUMNS, [*images, image(3, "roses") | {"path": "roses/copy.jpg"}])
    TABLE.write_text(f"path,corrected\ntulips/3.jpg,{label}\ntulips/5.jpg,{label}\n")
    printed = run_python("-m", "graft", "relabel", TABLE, folder=project.folder).stdout.splitlines()
    corrected, left_out = (3, 0) if label == "roses" else (0, 3)
    assert printed[0].startswith(f"labels corrected: {corrected}, images left out: {left_out};")
    assert printed[1:] == ["these include exact copies that fixed.csv does not name: 1 (roses/copy.jpg)"]


def test_exact_copies_that_the_table_names_need_no_word(images, run_python, project):
    write_rows(paths.IMAGES, COLUMNS, [*images, image(3, "roses")])
    TABLE.write_text("path,corrected\ntulips/3.jpg,roses\nroses/3.jpg,roses\n")
    printed = run_python("-m", "graft", "relabel", TABLE, folder=project.folder).stdout
    assert "exact copies" not in printed


def test_corrections_of_images_that_are_gone_are_one_warning_with_their_count(images, capsys):
    gone = {sha256(1000 + n): Correction(f"roses/{1000 + n}.jpg", "no longer a class") for n in range(7)}
    write_corrections(paths.RELABELLED, gone)
    split.main()
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "relabelled" in line]
    assert warning.startswith("warning: relabelled.csv: no image is left for 7 corrections (roses/1000.jpg, ")
    assert warning.endswith(", ...)")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("path,corrected\r\ntulips/3.jpg,roses\r\n", "roses"),
        ("\ufeffpath;corrected\ntulips/3.jpg;roses\n", "roses"),
        ("corrected\tpath\nroses\ttulips/3.jpg\n", "roses"),
    ],
)
def test_a_table_as_a_spreadsheet_saves_it_is_read(images, run_relabel, text, label):
    TABLE.write_text(text, encoding="utf-8", newline="")
    found = run_relabel()
    assert found.returncode == 0, found.stderr
    assert read_corrections(paths.RELABELLED) == {sha256(3): Correction("tulips/3.jpg", label)}


REFUSED = {
    "path,corrected\ntulips/3.jpg,rosse\n": r"fixed.csv: line 2: 'rosse' is no class; did you mean 'roses'?",
    "path,corrected\ntulips/4.jpg,roses\n": "line 2: data/images.csv has no image 'tulips/4.jpg'; remove the line, or",
    "path,corrected\ntulips/3.jpg,roses\ntulips/3.jpg,-\n": "line 3: tulips/3.jpg has another label in an earlier line",
    "path,label\ntulips/3.jpg,roses\n": "it needs the columns path and corrected, found path, label; copy metrics/",
    "": "it needs the columns path and corrected, found none",
    'path,corrected\n"tulips/3.jpg,roses\ntulips/5.jpg,roses\n': "fixed.csv: not CSV (unexpected end of data); save it",
    f"path,corrected\ntulips/3.jpg,{'x' * 200_000}\n": "fixed.csv: not CSV (field larger than",
    # As after a spreadsheet has sorted one column alone.
    f"path,sha256,corrected\ntulips/3.jpg,{sha256(5)},roses\n": "line 2: its path is of tulips/3.jpg, its sha256 of tu",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_table_with_a_mistake_is_one_line_and_changes_nothing(images, run_relabel, text):
    before = paths.RELABELLED.read_bytes()
    TABLE.write_text(text)
    found = run_relabel()
    assert found.returncode == 1
    assert REFUSED[text] in found.stderr
    assert found.stderr.count("\n") == 1
    assert paths.RELABELLED.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"path,corrected\n\xff.jpg,roses\n", "not a table in UTF-8")],
)
def test_a_table_that_cannot_be_read_is_one_line(images, run_relabel, content, message):
    if content:
        TABLE.write_bytes(content)
    found = run_relabel()
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert f"fixed.csv: {message}" in found.stderr


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_corrections_that_are_no_file_are_not_taken_for_none(tmp_path, kind):
    path = tmp_path / "relabelled.csv"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(GraftError, match=r"relabelled\.csv: not a file that can be read; `git checkout"):
        read_corrections(path)


def test_a_device_which_may_have_no_end_is_no_table(images, run_relabel):
    TABLE.symlink_to(os.devnull)
    found = run_relabel()
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert "fixed.csv: a device, not a table; give a CSV file" in found.stderr


def test_a_table_without_corrections_changes_nothing_and_says_so(relabel):
    assert "fixed.csv: no label in the column corrected; nothing is changed" in relabel({}).stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"a.jpg,{sha256(3)},rosse", r"relabelled.csv: a.jpg: 'rosse' is no class; did you mean 'roses'\?"),
        (f"a.jpg,{sha256(3)},", "line 2 has no label; it needs path, sha256, label"),
        (f"a.jpg,{sha256(3)},roses\na.jpg,{sha256(3)},-", "line 3 corrects a.jpg a second time; remove one"),
        (f'"a.jpg,{sha256(3)},roses', r"relabelled.csv: not CSV \(unexpected end of data\); `git checkout rel"),
        (f"a.jpg,{sha256(3)},{'x' * 200_000}", r"relabelled.csv: not CSV \(field larger than"),
    ],
)
def test_a_mistake_in_relabelled_csv_is_one_line(images, line, message):
    paths.RELABELLED.write_text(f"path,sha256,label\n{line}\n")
    with pytest.raises(GraftError, match=message):
        split.main()


def test_without_corrections_the_images_are_as_they_were(images):
    found = correct(images, {}, paths.RELABELLED)
    assert (list(found.images), found.relabelled, found.left_out, found.unused) == (images, 0, 0, [])


@pytest.mark.parametrize("label", ["roses", "-"])
def test_corrections_that_leave_one_class_are_one_line_with_their_file(images, label):
    write_corrections(paths.RELABELLED, {sha256(n): Correction(f"tulips/{n}.jpg", label) for n in range(1, 200, 2)})
    with pytest.raises(GraftError, match=r"^relabelled\.csv: it leaves images of 1 class; two or more are needed"):
        split.main()


def test_a_class_that_corrections_leave_without_an_image_is_named(images, capsys):
    rows = [*images, *(image(number, "daisies") for number in range(200, 203))]
    write_rows(paths.IMAGES, COLUMNS, rows)
    write_corrections(paths.RELABELLED, {sha256(n): Correction(f"daisies/{n}.jpg", "roses") for n in range(200, 203)})
    split.main()
    assert "relabelled.csv: no image is left of class 'daisies'\n" in capsys.readouterr().out
    assert read_json(paths.CLASSES) == ["roses", "tulips"]
