"""Errors: one line for the user, a hint that names what would do, and the exit status."""

import errno

import pytest

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


def test_a_users_fault_ends_in_one_line():
    with pytest.raises(SystemExit, match=r"^error: params.yaml: lr is missing$"):
        run(_raising(GraftError("params.yaml: lr is missing")))


def test_a_full_disk_ends_in_one_line():
    with pytest.raises(SystemExit, match=r"^error: data/raw/1.png: the disk is full; free some space and run again$"):
        run(_raising(OSError(errno.ENOSPC, "No space left on device", "data/raw/1.png")))


def test_other_faults_are_ours_and_keep_their_traceback():
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
