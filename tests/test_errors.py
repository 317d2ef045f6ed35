"""Errors: one line for the user, a hint that names what would do, and the exit status."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from graft.core.errors import GraftError, nearest, run

ROOT = Path(__file__).resolve().parents[1]


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


def test_where_a_copy_finds_the_disk_full_the_line_names_the_copy():
    error = OSError(errno.ENOSPC, "No space left on device", "photos/1.png", None, "data/raw/1.png")
    with pytest.raises(SystemExit, match=r"^error: data/raw/1.png: the disk is full; free some space and run again$"):
        run(_raising(error))


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.EACCES, "permission denied; give yourself the permission, or use another folder"),
        (errno.EROFS, "read-only file system; use a folder that can be written to"),
        (errno.EIO, "input/output error; check the disk or the connection to it"),
        (errno.ENAMETOOLONG, "file name too long; use a shorter name"),
        (errno.ELOOP, "too many levels of symbolic links; check this file"),
    ],
)
def test_a_fault_of_the_file_system_is_one_line_with_the_file(number, line):
    with pytest.raises(SystemExit, match=f"^error: data/raw/1.png: {line}$"):
        run(_raising(OSError(number, os.strerror(number), "data/raw/1.png")))


def test_a_link_that_leads_to_itself_is_one_line(tmp_path):
    link = tmp_path / "photos"
    link.symlink_to(link)
    # Before Python 3.13 without `strict` too, as a RuntimeError.
    with pytest.raises(SystemExit, match=r"^error: .*photos: too many levels of symbolic links; check this file$"):
        run(lambda: link.resolve(strict=True) and None)


def test_another_runtime_error_is_a_fault_of_the_program():
    with pytest.raises(RuntimeError, match="^unexpected$"):
        run(_raising(RuntimeError("unexpected")))


def test_a_long_file_name_is_cut_short():
    with pytest.raises(SystemExit) as ended:
        run(_raising(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000)))
    assert len(ended.value.code) < 200


def test_other_errors_are_ours_and_keep_their_traceback():
    with pytest.raises(OSError, match="Input/output"):
        run(_raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(TypeError, match="a bug"):
        run(_raising(TypeError("a bug")))


@pytest.mark.parametrize("status", [None, 0, 1])
def test_the_status_of_main_is_the_exit_status(status):
    with pytest.raises(SystemExit) as ended:
        run(lambda: status)
    assert ended.value.code == status


def test_an_interrupt_ends_with_the_status_of_shells():
    with pytest.raises(SystemExit) as ended:
        run(_raising(KeyboardInterrupt()))
    assert ended.value.code == 130


INTERRUPTED = """\
import os, signal, sys, threading, time
from graft.core.errors import end_at_interrupts, run
{script}
"""
# Each prints a line when Ctrl+C may come, and would go on for longer than the test waits.
WAITING = {
    "imports": "end_at_interrupts(); print('ready', flush=True); time.sleep(60)",
    "work": "run(lambda: print('ready', flush=True) or time.sleep(60))",
    "threads": (
        "from graft.core.threads import in_order\n"
        "def work(seconds): time.sleep(seconds)\n"
        "run(lambda: print('ready', flush=True) or list(in_order(work, [2] * 100)))"
    ),
}


@pytest.mark.parametrize("place", WAITING)
def test_an_interrupt_ends_the_process_quietly_wherever_it_is(place):
    command = [sys.executable, "-c", INTERRUPTED.format(script=WAITING[place])]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        # A second one, of an impatient user, while threads are waited for.
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=50)
    # Shells report a process that the signal has ended with status 130 too.
    assert (process.returncode in (130, -signal.SIGINT), error) == (True, b"")


def test_a_stage_that_is_interrupted_while_it_imports_ends_quietly(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_text((ROOT / "stages/__init__.py").read_text())
    (tmp_path / "stages/slow.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "stages.slow"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=50)
    assert (process.returncode, error) == (-signal.SIGINT, b"")


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
HINT = "; then run `dvc repro`, or go back to the last commit by `make restore`"


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
