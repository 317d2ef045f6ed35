"""Errors: one line for the user, a hint that names what would do, and the exit status."""

import errno
import sys

import pytest
import yaml

from graft.core.errors import GraftError, nearest, run


def test_the_nearest_name_is_suggested():
    assert nearest("digit", ["digits", "flower_photos"]) == "did you mean 'digits'?"


def test_names_match_without_regard_to_case():
    assert nearest("mobilenetv2", ["MobileNetV2", "EfficientNetLite0"]) == "did you mean 'MobileNetV2'?"


def test_several_near_names_are_all_suggested():
    assert nearest("lite", ["lite1", "lite0"]) == "did you mean 'lite1' or 'lite0'?"


def test_without_a_near_name_all_known_ones_are_listed_in_order():
    assert nearest("xyz", ["flower_photos", "digits"]) == "known: digits, flower_photos"


def _raising(error):
    def main():
        raise error

    return main


def test_a_mistake_of_the_user_ends_in_one_line():
    with pytest.raises(SystemExit, match=r"^error: params.yaml: lr is missing$"):
        run(_raising(GraftError("params.yaml: lr is missing")))


def test_a_file_name_with_line_ends_or_terminal_codes_stays_in_one_line():
    with pytest.raises(SystemExit, match=r"^error: a\\nb\\x1b\[2Jé 雏\\udcff: no image$"):
        run(_raising(GraftError("a\nb\x1b[2Jé 雏\udcff: no image")))


def test_a_full_disk_ends_in_one_line():
    with pytest.raises(SystemExit, match=r"^error: data/raw/1.png: the disk is full; free some space and run again$"):
        run(_raising(OSError(errno.ENOSPC, "No space left on device", "data/raw/1.png")))


def test_other_errors_are_ours_and_keep_their_traceback():
    with pytest.raises(OSError, match="Input/output"):
        run(_raising(OSError(errno.EIO, "Input/output error")))


@pytest.mark.parametrize("status", [None, 0, 1])
def test_the_status_of_main_is_the_exit_status(status):
    with pytest.raises(SystemExit) as ended:
        run(lambda: status)
    assert ended.value.code == status


def test_an_interrupt_ends_with_the_status_of_shells():
    with pytest.raises(SystemExit) as ended:
        run(_raising(KeyboardInterrupt()))
    assert ended.value.code == 130


def test_the_line_goes_to_stderr_with_status_1(run_python):
    script = "from graft.core.errors import *\ndef main(): raise GraftError('no such key')\nrun(main)"
    result = run_python("-c", script)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "error: no such key\n")


STAGE = """\
import sys
from pathlib import Path
from graft.core.errors import GraftError, run

def main():
    if Path("input").read_text() == "bad":
        raise GraftError("input: it is bad")
    Path("output").write_text("result")

run(main{arguments})
"""
PIPELINE = {"stages": {"only": {"cmd": f"'{sys.executable}' stage.py", "deps": ["input"], "outs": ["output"]}}}
HINT = "; `dvc checkout` and `git checkout metrics` bring the last results back"


@pytest.fixture
def pipeline(tmp_path, run_python):
    """Return a function that writes a pipeline of one stage, which succeeds once and then fails.

    It takes further arguments of `run` and returns a function that runs DVC, and the lines of the stage's error.
    """

    def fail(arguments=""):
        def dvc(*words):
            variables = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
            return run_python("-m", "dvc", *words, folder=tmp_path, **variables)

        (tmp_path / "stage.py").write_text(STAGE.format(arguments=arguments))
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        assert dvc("init", "--no-scm").returncode == 0
        for content, status in (("good", 0), ("bad", 255)):
            (tmp_path / "input").write_text(content)
            done = dvc("repro")
            assert done.returncode == status, done.stderr
        return dvc, [line for line in done.stderr.splitlines() if line.startswith("error: ")]

    return fail


def test_a_stage_that_dvc_runs_says_how_the_results_come_back_that_dvc_deleted(pipeline, tmp_path):
    dvc, lines = pipeline()
    assert lines == [f"error: input: it is bad{HINT}"]
    assert not (tmp_path / "output").exists()
    assert dvc("checkout").returncode == 0
    assert (tmp_path / "output").read_text() == "result"


def test_a_stage_whose_outputs_dvc_keeps_has_nothing_to_bring_back(pipeline):
    _, lines = pipeline(", keeps_outputs=True")
    assert lines == ["error: input: it is bad"]


def test_in_a_temporary_experiment_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "evaluate")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: lr is missing$"):
        run(_raising(GraftError("lr is missing")))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(SystemExit, match=f"^error: lr is missing{HINT}$"):
        run(_raising(GraftError("lr is missing")))
