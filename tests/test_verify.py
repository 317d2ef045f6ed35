"""graft verify: a run from nothing gives the hashes of dvc.lock, or the first stage that does not is named."""

import json
import os
import re
import sys
from pathlib import Path

import one_stage
import pytest
import yaml

VERIFY = ("python", "-m", "graft", "verify")


@pytest.mark.slow
def test_a_committed_run_gives_the_same_outputs_again(finished):
    outputs = sum(len(stage["outs"]) for stage in lock_of(finished).values())
    assert finished.run(*VERIFY).endswith(f"\npass  all {outputs} outputs are those of dvc.lock\n")


def test_outputs_that_differ_are_listed_and_the_first_stage_and_the_kind_of_processor_are_named(clone):
    names = ("resolve", "download", "split", "freeze")
    clone.keep_stages(*names)
    stages = {name: lock_of(clone)[name] for name in names}
    for output in (*stages["split"]["outs"], *stages["freeze"]["outs"]):
        if output["path"] in ("data/classes.json", "data/backbone"):
            output["md5"] = "0" * 32
    (clone.path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))
    metrics = clone.path / "metrics/fine_tune.json"
    content = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.write_text(json.dumps(content | {"processor": "x86_64 with valves"}), encoding="utf-8")
    clone.commit("Other hashes, of another processor")
    result = clone.attempt(*VERIFY)
    assert result.returncode == 1
    *_, first, second, count, kind = result.stdout.splitlines()
    assert (first, second) == (
        "FAIL  split: data/classes.json is another file than dvc.lock says",
        "FAIL  freeze: data/backbone is another file than dvc.lock says",
    )
    assert count.endswith(" outputs differ, first those of stage split")
    assert kind == f"dvc.lock is from x86_64 with valves; this processor, {content['processor']}, rounds otherwise"


def test_without_dvc_lock_there_is_nothing_to_compare_with(clone):
    clone.git("rm", "--quiet", "dvc.lock")
    clone.commit("Without results")
    result = clone.attempt(*VERIFY)
    assert (result.returncode, result.stderr) == (
        1, "error: dvc.lock: the last commit has none; `dvc repro`, then commit it\n"
    )  # fmt: skip


def test_a_run_that_fails_is_no_pass(clone):
    clone.set(split__validation=1e-9)
    clone.commit("A split without validation images")
    result = clone.attempt(*VERIFY)
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: split: no validation image among 60[^\n]*; `dvc repro` failed in a clone of the last commit\n",
        result.stderr,
    )


@pytest.fixture
def small(project, monkeypatch, tmp_path):
    """A repository with a pipeline of one stage, and a dvc.lock."""
    monkeypatch.setenv("PATH", f"{Path(sys.prefix, 'bin')}{os.pathsep}{os.environ['PATH']}")
    one_stage.write()
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    return project


def test_the_error_of_a_stage_is_the_error_and_nothing_is_advised_about_the_clone(small, run_python):
    small.set(lr=2)
    one_stage.git("commit", "-q", "-a", "-m", "A learning rate that the stage refuses")
    result = run_python("-m", "graft", "verify", folder=small.folder)
    assert result.returncode == 1
    assert result.stderr == "error: lr is too large; `dvc repro` failed in a clone of the last commit\n"
    assert "Running stage 'evaluate':" in result.stdout
    assert "git add" not in result.stdout


def test_where_dvc_itself_fails_its_reason_is_the_error(small, run_python):
    one_stage.git("rm", "-q", "stages/evaluate.py")
    one_stage.git("commit", "-q", "-m", "Without the script of the stage")
    result = run_python("-m", "graft", "verify", folder=small.folder)
    assert result.returncode == 1
    assert re.fullmatch(r"error: [^\n]*stages/evaluate\.py[^\n]*; `dvc repro` failed in [^\n]+\n", result.stderr)


@pytest.mark.slow
def test_folder_time_zone_language_umask_hash_seed_and_number_of_processors_change_no_output(finished, tmp_path):
    clone = finished.cloned(tmp_path / "another place with a long name")
    strange = {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}
    one_processor = min(os.sched_getaffinity(0))
    clone.run("sh", "-c", f"umask 077; exec taskset --cpu-list {one_processor} dvc repro", **strange)
    links = ("data/source", "data/weights")
    expected, found = (
        {path: digest for path, digest in each.outputs().items() if path not in links} for each in (finished, clone)
    )
    assert found == expected


def lock_of(clone):
    return yaml.safe_load((clone.path / "dvc.lock").read_text(encoding="utf-8"))["stages"]
