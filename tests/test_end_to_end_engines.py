"""`extract.engine` in the whole pipeline: what runs again, what the metrics name, and what stays the same."""

import json

import numpy as np
import pytest
from clones import ran

pytestmark = pytest.mark.slow


def engines(clone):
    """Return the engine that each metrics file names, None where it names none."""
    files = [clone.path / f"metrics/{name}.json" for name in ("head", "fine_tune")]
    return [json.loads(file.read_text()).get("engine") for file in files]


def features(clone):
    return np.load(clone.path / "data/features/features.npy")


def test_another_engine_runs_what_uses_it_again_and_the_metrics_name_it(clone):
    before, outputs = features(clone), clone.outputs()
    assert engines(clone) == [None, None]
    clone.set(extract__engine="tensorflow", extract__batch_size=8)
    stages = ran(clone.dvc("repro"))
    assert {"extract", "train_head", "fine_tune"} <= set(stages)
    assert not {"download", "split", "freeze"} & set(stages)
    names = engines(clone)
    assert names[0] == names[1]
    assert names[0].endswith(", float32 on CPU, batches of 8")
    assert np.linalg.norm(features(clone) - before) < 1e-5 * np.linalg.norm(before)
    clone.set(extract__engine="litert", extract__batch_size=128)
    clone.dvc("repro")
    assert engines(clone) == [None, None]
    # A copied clone's link to the images is absolute until resolve runs.
    assert {**clone.outputs(), "data/source": None} == {**outputs, "data/source": None}


def test_ray_gives_the_bytes_of_litert(clone):
    before = features(clone)
    clone.set(extract__engine="ray")
    clone.dvc("repro")
    assert engines(clone)[0].endswith(" on Ray")
    np.testing.assert_array_equal(features(clone), before)


def test_head_and_fine_tuning_use_the_same_network_of_whole_numbers(clone):
    before = features(clone)
    clone.set(extract__precision="int8")
    stages = ran(clone.dvc("repro"))
    assert {"extract", "train_head", "fine_tune"} <= set(stages)
    assert not {"download", "split", "freeze"} & set(stages)
    names = engines(clone)
    assert names[0] == names[1]
    assert names[0].endswith(", int8")
    distance = np.linalg.norm(features(clone) - before) / np.linalg.norm(before)
    assert 1e-5 < distance < 0.05
