"""The gate: exits 0 only if every figure is there, is a number, and holds its threshold."""

import json
from pathlib import Path

import pytest
import revisions

from graft.commands import gate
from graft.core.errors import GraftError
from graft.core.files import write_json, write_text

METRICS = Path("metrics/accuracy.json")
GOOD = {"accuracy": 0.97, "balanced_accuracy": 0.96, "expected_calibration_error": 0.02}


@pytest.fixture
def run_gate(project, monkeypatch, capsys):
    """Return a function that runs the gate on metrics and gives its status and its lines."""

    def run(metrics, *arguments):
        if metrics is not None:
            write_text(METRICS, json.dumps(metrics))
        monkeypatch.setattr("sys.argv", ["gate", *arguments])
        status = gate.main()
        return status, capsys.readouterr().out.splitlines()

    return run


def test_good_metrics_pass_with_a_line_for_each_threshold(run_gate):
    assert run_gate(GOOD) == (
        0,
        [
            "pass  accuracy 0.9700, at least 0.95",
            "pass  balanced_accuracy 0.9600, at least 0.94",
            "pass  expected_calibration_error 0.0200, at most 0.1",
        ],
    )


@pytest.mark.parametrize(
    ("name", "value"), [("accuracy", 0.9499), ("balanced_accuracy", 0.9399), ("expected_calibration_error", 0.1001)]
)
def test_one_bad_figure_fails_and_the_others_are_still_shown(run_gate, name, value):
    status, lines = run_gate(GOOD | {name: value})
    assert status == 1
    assert [line.split()[1] for line in lines if line.startswith("FAIL")] == [name]
    assert len(lines) == 3


def test_a_figure_exactly_at_its_threshold_passes(run_gate):
    assert run_gate({"accuracy": 0.95, "balanced_accuracy": 0.94, "expected_calibration_error": 0.1})[0] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, True, False, "0.99", [0.99], {}])
@pytest.mark.parametrize("name", list(GOOD))
def test_what_is_no_number_fails(run_gate, name, value):
    status, lines = run_gate(GOOD | {name: value})
    assert status == 1
    assert [line for line in lines if line.startswith(f"FAIL  metrics/accuracy.json: {name} is ")]


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_figure_fails(run_gate, name):
    status, lines = run_gate({key: value for key, value in GOOD.items() if key != name})
    assert status == 1
    assert f"FAIL  metrics/accuracy.json: {name} is missing, a number is needed" in lines


def test_a_missing_file_is_one_line(run_gate):
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json: no such file; `dvc repro` writes it$"):
        run_gate(None)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[1, 2]", b"0.97", b"null"])
def test_a_file_that_is_no_json_object_is_one_line(run_gate, content):
    METRICS.parent.mkdir()
    METRICS.write_bytes(content)
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json: not a JSON (file|object)[^\n]*$"):
        run_gate(None)


def test_the_thresholds_are_those_of_the_parameters(project, run_gate):
    project.set(gate__min_accuracy=0.98)
    assert run_gate(GOOD)[0] == 1
    project.set(gate__min_accuracy=0.5)
    assert run_gate(GOOD | {"accuracy": 0.6})[0] == 0


def commit(metrics, tag):
    revisions.commit(tag, {METRICS: metrics if isinstance(metrics, str) else json.dumps(metrics)})


@pytest.fixture
def repository(project):
    """A git repository with the metrics of a better earlier run, tagged `earlier`."""
    revisions.start()
    commit(GOOD | {"accuracy": 0.98}, "earlier")


def test_a_drop_within_the_bound_passes(run_gate, repository):
    status, lines = run_gate(GOOD | {"accuracy": 0.975}, "--against", "earlier")
    assert status == 0
    assert lines[3:] == [
        "pass  accuracy 0.9750, 0.9800 at earlier, may drop by 0.01",
        "pass  balanced_accuracy 0.9600, 0.9600 at earlier, may drop by 0.01",
    ]


def test_a_drop_of_exactly_the_bound_passes(run_gate, repository):
    # 0.98 - 0.97 is a little more than 0.01 in floating point.
    assert run_gate(GOOD | {"accuracy": 0.97}, "--against", "earlier")[0] == 0


def test_test_parts_of_different_size_are_pointed_out(run_gate, repository):
    _, lines = run_gate(GOOD | {"images": 330}, "--against", "earlier")
    assert lines[0].startswith("note  not the same test part: 330 images, ")


@pytest.mark.parametrize(("name", "value"), [("accuracy", 0.9699), ("balanced_accuracy", 0.9499)])
def test_a_larger_drop_fails_although_every_threshold_holds(run_gate, repository, name, value):
    status, lines = run_gate(GOOD | {name: value}, "--against", "earlier")
    assert status == 1
    assert [line.split()[1] for line in lines if line.startswith("FAIL")] == [name]


def test_a_gain_passes(run_gate, repository):
    assert run_gate(GOOD | {"accuracy": 1.0}, "--against", "earlier")[0] == 0


def test_a_branch_and_a_commit_are_revisions_too(run_gate, repository):
    assert run_gate(GOOD, "--against", "main")[0] == 0
    assert run_gate(GOOD, "--against", "HEAD")[0] == 0


def test_an_experiment_of_dvc_is_found_by_its_name(run_gate, repository):
    revisions.git("update-ref", "refs/exps/ab/cdef/tender-rose", "HEAD")
    assert run_gate(GOOD | {"accuracy": 0.96}, "--against", "tender-rose")[0] == 1


def test_a_project_below_the_top_of_its_git_repository_is_found(run_gate, project, monkeypatch):
    monkeypatch.chdir("..")
    revisions.start()
    monkeypatch.chdir(project.folder)
    commit(GOOD | {"accuracy": 0.98}, "earlier")
    assert run_gate(GOOD | {"accuracy": 0.96}, "--against", "earlier")[0] == 1


def test_an_unknown_revision_is_one_line(run_gate, repository):
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json at nowhere: [^\n]*nowhere[^\n]*$"):
        run_gate(GOOD, "--against", "nowhere")


def test_a_revision_without_metrics_is_one_line(run_gate, repository):
    revisions.git("rm", "-q", "--cached", str(METRICS))
    revisions.git("commit", "-q", "-m", "no metrics")
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json at HEAD: [^\n]+$"):
        run_gate(GOOD, "--against", "HEAD")


@pytest.mark.parametrize("earlier", [GOOD | {"accuracy": float("nan")}, {"balanced_accuracy": 0.9}])
def test_an_earlier_figure_that_is_no_number_fails(run_gate, repository, earlier):
    commit(earlier, "odd")
    status, lines = run_gate(GOOD, "--against", "odd")
    assert status == 1
    assert [line for line in lines if line.startswith("FAIL  metrics/accuracy.json at odd: accuracy is ")]


def test_outside_a_git_repository_there_is_nothing_to_compare_with(run_gate, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json at main: [^\n]*not a git repository"):
        run_gate(GOOD, "--against", "main")


def test_the_command_exits_with_the_outcome(project, run_python):
    write_json(METRICS, GOOD)
    assert run_python("-m", "graft.commands.gate", folder=project.folder).returncode == 0
    write_json(METRICS, GOOD | {"accuracy": 0.5})
    failed = run_python("-m", "graft.commands.gate", folder=project.folder)
    assert (failed.returncode, failed.stderr) == (1, "")
    METRICS.unlink()
    missing = run_python("-m", "graft.commands.gate", folder=project.folder)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1
