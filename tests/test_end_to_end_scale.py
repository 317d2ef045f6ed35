"""`limits.rows_in_memory` in the whole pipeline: numbered files, the same accuracy, and what a damaged file says."""

import json
import sys

import pytest
from clones import ran

pytestmark = pytest.mark.slow

FEATURES, PREDICTIONS = "data/features/features.npy", "metrics/predictions.csv"


def accuracy(clone):
    return json.loads((clone.path / "metrics/accuracy.json").read_text())


def test_a_run_in_numbered_files_is_as_good_as_one_in_memory_and_going_back_restores_it(clone):
    before, outputs = accuracy(clone), clone.outputs()
    clone.set(limits__rows_in_memory=5)
    assert {"extract", "train_head", "evaluate"} <= set(ran(clone.dvc("repro")))
    assert (clone.path / FEATURES / "00005.npy").is_file()
    assert (clone.path / PREDICTIONS / "00000.csv").is_file()
    assert accuracy(clone)["accuracy"] == pytest.approx(before["accuracy"], abs=0.002)
    # The temperature is that of five validation images; tests/test_train_head.py compares the loss.
    assert accuracy(clone)["loss"] == pytest.approx(before["loss"], abs=0.05)
    clone.commit("Numbered files")
    assert clone.run(sys.executable, "-m", "graft", "gate", "--against", "main~1").count("pass ") == 5
    clone.run(sys.executable, "-m", "graft", "report", "--against", "main~1")
    assert "predicted" in clone.dvc("plots", "show", "--json", PREDICTIONS)
    assert ran(clone.dvc("repro")) == []
    clone.set(limits__rows_in_memory=50_000)
    clone.dvc("repro")
    assert {**clone.outputs(), "data/source": None} == {**outputs, "data/source": None}


def test_an_altered_or_missing_file_is_one_line_and_dvc_checkout_brings_it_back(clone):
    clone.set(limits__rows_in_memory=20)
    clone.dvc("repro", "train_head")
    head = clone.outputs()["models/head.npz"]
    file = clone.path / FEATURES / "00001.npy"
    content = file.read_bytes()
    for state in ("altered", "missing"):
        file.unlink()
        if state == "altered":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        failed = clone.attempt(sys.executable, "-m", "stages.train_head")
        assert (failed.returncode, failed.stderr) == (
            1,
            f"error: {FEATURES}/00001.npy: {state}; `dvc checkout` brings it back, "
            "or `dvc repro extract` writes it again\n",
        )
        clone.dvc("checkout", "--force", "data/features")
        clone.run(sys.executable, "-m", "stages.train_head")
        assert clone.outputs()["models/head.npz"] == head
