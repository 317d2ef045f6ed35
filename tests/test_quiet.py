"""What compiled libraries write past Python is kept quiet, and nothing else changes."""

import gc
import os

import pytest

from graft.core.quiet import hidden, importing


@pytest.mark.parametrize("quiet", [hidden, importing])
def test_what_is_written_to_the_process_goes_nowhere_inside_and_is_seen_again_after(quiet, capfd):
    with quiet():
        os.write(2, b"a greeting\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize("quiet", [hidden, importing])
def test_an_exception_goes_on_and_standard_error_is_back(quiet, capfd):
    with pytest.raises(ImportError, match="no such library"), quiet():
        raise ImportError("no such library")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert gc.isenabled()


def test_an_import_runs_without_garbage_collection_and_what_comes_after_with_it():
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
