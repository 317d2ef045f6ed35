"""Features on disk: the rows that are asked for, and no more memory than they take."""

from pathlib import Path

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.heads.feature_file import FeatureFile


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "features.npy", np.arange(24, dtype=np.float32).reshape(6, 2, 2))
    return tmp_path / "features.npy"


def test_an_index_selects_among_the_rows_that_it_was_given(path):
    file = FeatureFile(path, np.array([5, 0, 3]))
    assert file.shape == (3, 2, 2)
    np.testing.assert_array_equal(file[np.array([1, 0])], np.load(path)[[0, 5]])


def test_rows_of_two_dimensions_are_those_of_views(path):
    file = FeatureFile(path, np.arange(6).reshape(3, 2))
    assert file.shape == (3, 2, 2, 2)
    np.testing.assert_array_equal(file[np.array([2, 1])], np.load(path)[[[4, 5], [2, 3]]])
    np.testing.assert_array_equal(file[np.array([2, 1]), np.array([1, 0])], np.load(path)[[5, 2]])


def test_what_it_returns_is_in_memory_and_can_be_changed(path):
    file = FeatureFile(path, np.arange(6))
    found = file[np.array([0, 1])]
    assert type(found) is np.ndarray
    found[:] = -1
    np.testing.assert_array_equal(file[np.array([0])], np.load(path)[[0]])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory from /proc")
def test_pages_that_were_read_do_not_stay_in_memory(tmp_path, run_python):
    """Of 200 MB, read ten rows at a time, less than 60 MB are ever in the memory of the process."""
    np.save(tmp_path / "features.npy", np.ones((2000, 25_000), np.float32))
    code = """
import re, sys
from pathlib import Path
import numpy as np
from graft.heads.feature_file import FeatureFile
file = FeatureFile(Path(sys.argv[1]), np.arange(2000))
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
for start in range(0, 2000, 10):
    assert file[np.arange(start, start + 10)].sum() == 250_000
print((peak() - before) // 1024)
"""
    result = run_python("-c", code, tmp_path / "features.npy")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 60


def test_a_file_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(GraftError, match=r"features\.npy: no such file; `dvc repro` writes it"):
        FeatureFile(tmp_path / "features.npy", np.arange(2))
