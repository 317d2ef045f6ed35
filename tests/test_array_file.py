"""Rows of numbers on disk: one file, or numbered files with a manifest that says what each must hold."""

import hashlib
import json

import numpy as np
import pytest

from graft.core.array_file import MANIFEST, ArrayFile, write_array
from graft.core.errors import GraftError

ROWS = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
REMEDY = "`dvc checkout` brings it back, or `dvc repro extract` writes it again$"


def blocks(rows):
    return (ROWS[start : min(start + 4, rows.stop)] for start in range(rows.start, rows.stop, 4))


@pytest.fixture
def folder(tmp_path):
    """Rows in three files of ten, ten and three."""
    write_array(tmp_path / "rows.npy", blocks, ROWS.shape, 10)
    return tmp_path / "rows.npy"


def test_without_a_limit_it_is_the_file_that_numpy_writes(tmp_path):
    write_array(tmp_path / "rows.npy", blocks, ROWS.shape)
    np.save(tmp_path / "numpy.npy", ROWS)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_the_manifest_has_the_rows_type_and_hash_of_each_file(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    assert {key: manifest[key] for key in ("rows", "shape", "dtype")} == {"rows": 23, "shape": [3], "dtype": "<f4"}
    assert [file["rows"] for file in manifest["files"]] == [10, 10, 3]
    for file in manifest["files"]:
        assert hashlib.sha256((folder / file["file"]).read_bytes()).hexdigest() == file["sha256"]
    np.testing.assert_array_equal(np.concatenate([np.load(folder / f"0000{n}.npy") for n in range(3)]), ROWS)


@pytest.mark.parametrize("wanted", [[0], [9, 10], [22, 3, 3, 15], [[1, 2], [12, 21]], [], range(23)])
def test_an_index_gives_the_rows_in_its_own_order_and_shape(folder, wanted):
    index = np.array(wanted, int)
    found = ArrayFile(folder)[index]
    np.testing.assert_array_equal(found, ROWS[index])
    found[:] = 0
    np.testing.assert_array_equal(ArrayFile(folder)[index], ROWS[index])


def test_a_missing_file_is_one_line_that_names_it(folder):
    (folder / "00001.npy").unlink()
    with pytest.raises(GraftError, match=rf"rows\.npy/00001\.npy: missing; {REMEDY}"):
        ArrayFile(folder)


def test_an_altered_file_is_one_line_that_names_it(folder):
    assert ArrayFile(folder).shape == (23, 3)
    content = bytearray((folder / "00002.npy").read_bytes())
    content[-1] ^= 1
    (folder / "00002.npy").write_bytes(content)
    with pytest.raises(GraftError, match=rf"rows\.npy/00002\.npy: altered; {REMEDY}"):
        ArrayFile(folder)


def test_a_file_of_another_run_is_an_altered_one(folder, tmp_path):
    write_array(tmp_path / "other.npy", lambda rows: [ROWS[::-1][rows.start : rows.stop]], ROWS.shape, 10)
    (tmp_path / "other.npy/00000.npy").replace(folder / "00000.npy")
    with pytest.raises(GraftError, match=rf"rows\.npy/00000\.npy: altered; {REMEDY}"):
        ArrayFile(folder)


@pytest.mark.parametrize("text", ["{}", "[]", '{"dtype": "<f4", "rows": 24, "files": []}'])
def test_an_altered_manifest_is_one_line(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(GraftError, match=rf"rows\.npy/manifest\.json: altered; {REMEDY}"):
        ArrayFile(folder)


def test_a_folder_without_a_manifest_is_one_line(folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(GraftError, match=rf"rows\.npy/manifest\.json: missing; {REMEDY}"):
        ArrayFile(folder)
