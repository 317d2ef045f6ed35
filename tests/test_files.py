"""Files: whole or not at all, and the same bytes each time."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.core.errors import GraftError
from graft.core.files import (
    read_json,
    read_rows,
    remove_leftovers,
    replacing,
    rows_of,
    sha256_of,
    temporary_folder,
    write_bytes,
    write_json,
    write_rows,
    write_text,
)

ROOT = Path(__file__).resolve().parents[1]


def _write_half(path, error):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with replacing(tmp_path / "model.weights.h5") as temporary:
        assert temporary.name.endswith("model.weights.h5")


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    with pytest.raises(ValueError, match="broken"):
        _write_half(path, ValueError("broken"))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file.txt": "earlier"}


def test_a_full_disk_is_one_line_and_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    with pytest.raises(GraftError, match=r"file\.txt: the disk is full; free some space"):
        _write_half(path, OSError(errno.ENOSPC, "No space left on device"))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file.txt": "earlier"}


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "read-only file system; use a folder that can be written to"),
        (errno.EIO, "input/output error; check the disk or the connection to it"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line_with_its_name(tmp_path, number, message):
    with pytest.raises(GraftError, match=rf"/file\.txt: {message}$"):
        _write_half(tmp_path / "file.txt", OSError(number, os.strerror(number)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "models").write_text("not a folder")
    with pytest.raises(GraftError, match=r"/models/deep/labels\.json: not a directory; check this file$"):
        write_text(tmp_path / "models/deep/labels.json", "")


def test_no_file_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    with pytest.raises(GraftError, match=r"/a: a folder, which a file would replace; give the name of a file$"):
        write_bytes(tmp_path / "a", b"1")
    assert (tmp_path / "a/b").is_dir()


def test_an_error_about_another_file_is_not_blamed_on_the_one_that_is_written(tmp_path):
    with pytest.raises(PermissionError, match=r"photo\.jpg"):
        _write_half(tmp_path / "file.txt", PermissionError(errno.EACCES, "Permission denied", "photo.jpg"))


def test_a_name_of_255_bytes_is_written_and_a_longer_one_is_one_line(tmp_path):
    write_text(tmp_path / ("x" * 251 + ".txt"), "long")
    assert (tmp_path / ("x" * 251 + ".txt")).read_text() == "long"
    with pytest.raises(GraftError, match=r"x\.txt: file name too long; use a shorter name$"):
        write_text(tmp_path / ("x" * 252 + ".txt"), "too long")


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640


def test_writing_in_a_thread_changes_no_permissions_of_files_that_others_make(tmp_path, monkeypatch):
    set_umask = os.umask
    mask, ended = set_umask(0o077), threading.Event()

    def slow_umask(value):
        earlier = set_umask(value)
        time.sleep(0.001)
        return earlier

    def write():
        while not ended.is_set():
            write_text(tmp_path / "written", "")

    # The umask is the process's: for as long as one thread changes it, other threads make files by it.
    monkeypatch.setattr(os, "umask", slow_umask)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(500):
            (tmp_path / str(number)).touch()
    finally:
        ended.set()
        writer.join()
        set_umask(mask)
    assert {stat.S_IMODE((tmp_path / str(number)).stat().st_mode) for number in range(500)} == {0o600}


def test_two_writers_of_one_file_leave_one_of_the_two_whole(tmp_path):
    contents = [str(number) * 5000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: write_text(tmp_path / "file.txt", content), contents * 20))
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() in contents


@contextmanager
def writer_in_another_process(folder):
    """Another process that has a file in a temporary folder below `folder`, and does not end by itself."""
    script = """if True:
        import sys
        from graft.core.files import replacing
        with replacing(sys.argv[1]) as temporary:
            temporary.write_text("half")
            print("written", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", script, str(folder / "file.txt")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout.readline() == b"written\n"
            yield process
        finally:
            process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_writer_and_the_earlier_file_stays(tmp_path):
    (tmp_path / "file.txt").write_text("earlier")
    with writer_in_another_process(tmp_path):
        pass
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "other.txt", "")
    assert {file.name for file in tmp_path.iterdir()} == {"file.txt", "other.txt"}
    assert (tmp_path / "file.txt").read_text() == "earlier"


def test_what_a_living_process_has_in_a_temporary_folder_stays(tmp_path):
    with writer_in_another_process(tmp_path) as process:
        write_text(tmp_path / "other.txt", "")
        remove_leftovers(tmp_path)
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "file.txt").read_text() == "half"


def test_what_this_process_has_in_a_temporary_folder_stays(tmp_path):
    with temporary_folder(tmp_path) as folder:
        (folder / "unpacked").mkdir()
        remove_leftovers(tmp_path)
        assert (folder / "unpacked").exists()
    assert not list(tmp_path.iterdir())


def test_temporary_files_of_earlier_versions_are_removed_and_no_others(tmp_path):
    for name in (".part-0123456789abcdefhead.npz", "head.npz", ".gitignore", "a.part-b"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".gitignore", "a.part-b", "head.npz"]


def test_leftovers_of_no_folder_are_none(tmp_path):
    remove_leftovers(tmp_path / "none")


def test_text_is_utf_8_with_its_line_ends_as_they_are(tmp_path):
    write_text(tmp_path / "file.txt", "雏菊\n")
    assert (tmp_path / "file.txt").read_bytes() == "雏菊\n".encode()


def test_json_has_its_keys_in_order_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "file.json", {"b": 1, "a": ["é"]})
    assert (tmp_path / "file.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": [\n    "é"\n  ]\n}\n'


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_takes_no_number_that_is_not_finite(tmp_path, number):
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "file.json", {"accuracy": number})
    assert not list(tmp_path.iterdir())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# A lone surrogate is no character: UTF-8 has no bytes for it.
@given(JSON_VALUES.filter(lambda value: not any("\ud800" <= character <= "\udfff" for character in repr(value))))
def test_json_comes_back_as_it_was_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_missing_json_is_one_line(tmp_path):
    with pytest.raises(GraftError, match=r"none\.json: no such file; `dvc repro` writes it"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"", b"[" * 100_000])
def test_damaged_json_is_one_line(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(GraftError, match=r"file\.json: not a JSON file \([^\n]*\); `dvc repro` writes it anew$"):
        read_json(tmp_path / "file.json")


def test_rows_have_a_header_and_unix_line_ends(tmp_path):
    write_rows(tmp_path / "rows.csv", ["path", "label"], [{"label": "a, b", "path": 'x"y'}])
    assert (tmp_path / "rows.csv").read_bytes() == b'path,label\n"x""y","a, b"\n'


PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(st.lists(st.fixed_dictionaries({"path": PRINTABLE, "label": PRINTABLE}), max_size=5))
def test_rows_come_back_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    write_rows(path, ["path", "label"], rows)
    assert read_rows(path) == rows


def test_a_row_with_an_unknown_column_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_rows(tmp_path / "rows.csv", ["path"], [{"path": "a", "lable": "b"}])
    assert not list(tmp_path.iterdir())


def test_missing_rows_are_one_line(tmp_path):
    with pytest.raises(GraftError, match=r"none\.csv: no such file; `dvc repro` writes it"):
        read_rows(tmp_path / "none.csv")


@pytest.mark.parametrize("content", [b"path\n\xff\n", b'path\n"a\n', b"path\n" + b"a" * 200_000])
def test_damaged_rows_are_one_line(tmp_path, content):
    (tmp_path / "file.csv").write_bytes(content)
    with pytest.raises(GraftError, match=r"file\.csv: not a CSV file \([^\n]*\); `dvc repro` writes it anew$"):
        read_rows(tmp_path / "file.csv")


@pytest.mark.parametrize("size", [0, 3, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_checksum_is_that_of_the_whole_file(tmp_path, size):
    content = (b"graft" * (size // 5 + 1))[:size]
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_folder_takes_the_place_of_a_file_or_folder_as_a_whole(tmp_path):
    path = tmp_path / "rows"
    path.write_text("a file")
    for text in ("first", "second"):
        with replacing(path) as temporary:
            temporary.unlink()
            temporary.mkdir()
            (temporary / text).write_text(text)
        assert [(one.name, one.read_text()) for one in path.iterdir()] == [(text, text)]
    with replacing(path) as temporary:
        temporary.write_text("a file again")
    assert path.read_text() == "a file again"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_fails_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "rows"
    path.mkdir()
    (path / "earlier").touch()

    def fail():
        with replacing(path) as temporary:
            temporary.unlink()
            temporary.mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [one.name for one in path.iterdir()] == ["earlier"]
    assert list(tmp_path.iterdir()) == [path]


def test_rows_that_stay_on_disk_are_read_from_the_start_in_each_loop(tmp_path):
    write_rows(tmp_path / "a.csv", ["x"], [{"x": 1}, {"x": 2}])
    rows = rows_of(tmp_path / "a.csv")
    assert list(rows) == list(rows) == read_rows(tmp_path / "a.csv") == [{"x": "1"}, {"x": "2"}]
    with pytest.raises(GraftError, match=r"b\.csv: no such file; `dvc repro` writes it$"):
        list(rows_of(tmp_path / "b.csv"))
