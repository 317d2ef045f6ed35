"""Fine-tuning on two machines, as docs/scale.md says: `dvc repro` on the chief, the stage alone on the other one."""

import json
import subprocess

import pytest
from clones import ran
from test_devices import free_addresses

pytestmark = pytest.mark.slow
SECONDS = 300
# The outputs of these stages are what the other machine pulls.
STAGES_BEFORE = ("resolve", "download", "split", "freeze", "train_head")


def started(clone, index, addresses, *command):
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        command,
        cwd=clone.path,
        env=clone.environment() | {"TF_CONFIG": json.dumps(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both(chief, other):
    """Run `dvc repro` on the chief and the stage on the other machine; return status, output and errors of each."""
    addresses = free_addresses()
    processes = [
        started(chief, 0, addresses, "dvc", "repro"),
        started(other, 1, addresses, "python", "-m", "stages.fine_tune"),
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS) for process in processes]
        return [(process.returncode, *texts) for process, texts in zip(processes, outputs, strict=True)]
    finally:
        for process in processes:
            process.kill()


def history(clone):
    lines = (clone.path / "metrics/history.csv").read_text().splitlines()[1:]
    return [[float(value) for value in line.split(",")] for line in lines]


@pytest.fixture
def chief(clone, tmp_path):
    """The finished clone with another learning rate, committed, and what comes before fine-tuning on a remote."""
    clone.set(lr=2e-3)
    clone.dvc("repro", "train_head")
    clone.dvc("remote", "add", "--default", "store", tmp_path / "remote")
    clone.commit("Another learning rate")
    clone.dvc("push", *STAGES_BEFORE)
    return clone


@pytest.fixture
def pulled(chief, tmp_path):
    """A clone of the chief's repository with what was pushed."""
    other = chief.cloned(tmp_path / "other")
    other.dvc("pull", *STAGES_BEFORE)
    return other


def test_two_machines_write_on_the_chief_what_one_machine_writes(chief, pulled, tmp_path):
    alone = chief.copied(tmp_path / "alone")
    alone.dvc("repro")
    (status, output, errors), (other_status, other_output, other_errors) = both(chief, pulled)
    assert status == 0, errors
    assert other_status == 0, other_errors
    assert {"fine_tune", "export", "evaluate"} <= set(ran(output))
    assert other_output.splitlines()[-1] == "trained; worker 0 writes the results"
    assert json.loads((chief.path / "metrics/fine_tune.json").read_text())["devices"] == 2
    for row, expected in zip(history(chief), history(alone), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)
    assert not (pulled.path / "models/fine_tuned.weights.h5").exists()
    assert pulled.git("status", "--short") == ""
    # The results are complete: nothing is left to run.
    assert ran(chief.dvc("repro")) == []


def test_two_machines_may_share_the_folder(chief):
    (status, _, errors), (other_status, _, other_errors) = both(chief, chief)
    assert status == 0, errors
    assert other_status == 0, other_errors
    assert json.loads((chief.path / "metrics/fine_tune.json").read_text())["devices"] == 2


def test_a_worker_with_other_parameters_ends_both_in_one_line_that_names_what_differs(chief, pulled):
    pulled.set(lr=3e-3)
    (status, _, errors), (other_status, _, other_errors) = both(chief, pulled)
    assert status != 0
    assert other_status == 1
    for text in (errors, other_errors):
        (line,) = (line for line in text.splitlines() if line.startswith("error: "))
        assert "has other settings than worker 0; give each worker the same commit and data" in line


def test_a_cluster_that_is_no_json_is_one_line(pulled):
    result = pulled.attempt("python", "-m", "stages.fine_tune", TF_CONFIG="worker 1")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: TF_CONFIG: not JSON (Expecting value: line 1 column 1 (char 0)); it must be like {")
