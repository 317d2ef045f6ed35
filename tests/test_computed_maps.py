"""Stage fine_tune with maps computed for each step: it gives what it gives with stored maps, and stores none."""

import json

import keras
import numpy as np
import pytest
from split_files import write_split
from test_engines import freeze

from graft.activations.store import Store, default_folder
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, write_json
from graft.heads.head import linear
from graft.images.table import read_image_table
from graft.training import loop
from stages import extract, fine_tune

SMALL = {
    "dataset": "photos",
    "augment__views": 2,
    "fine_tune__epochs": 4,
    "fine_tune__batch_size": 8,
    "fine_tune__precision": "float32",
    "lr": 1e-3,
}


@pytest.fixture
def frozen(project, image_folder):
    """A project with a frozen backbone, a head, and images of three classes."""
    write_split(image_folder)
    freeze("simple_cnn", "avg")
    write_json(paths.BACKBONE_DESCRIPTION, read_json(paths.BACKBONE_DESCRIPTION) | {"features": [32]})
    kernel = np.random.default_rng(0).normal(0, 0.1, (32, 3)).astype(np.float32)
    paths.HEAD.parent.mkdir()
    linear(kernel, np.zeros(3, np.float32)).save(paths.HEAD, ["blue", "green", "red"])
    write_json(paths.HEAD_METRICS, {"head_validation": {"accuracy": 0.5}})
    return project


def run(frozen, capsys, **changes):
    """Run the stage; return the bytes of its outputs, and what it prints."""
    frozen.set(**SMALL | changes)
    # The numbers in the names of layers start anew, as in a process of its own.
    keras.utils.clear_session()
    fine_tune.main()
    files = (paths.FINE_TUNED, paths.HISTORY, paths.FINE_TUNE_METRICS)
    return [path.read_bytes() for path in files], capsys.readouterr().out.splitlines()


def stored_bytes():
    with Store(default_folder()) as store:
        return store.size()


@pytest.mark.parametrize(("engine", "batch_size"), [("litert", 128), ("tensorflow", 8)])
def test_the_result_has_the_same_bytes_wherever_the_maps_come_from(frozen, capsys, engine, batch_size):
    settings = {"extract__engine": engine, "extract__batch_size": batch_size}
    found, lines = run(frozen, capsys, fine_tune__maps="computed", **settings)
    assert lines[0].startswith("maps: computed, as fine_tune.maps says")
    assert not default_folder().exists()
    expected, lines = run(frozen, capsys, fine_tune__maps="stored", **settings)
    assert stored_bytes() > 0
    assert found == expected


def test_auto_computes_what_the_store_may_not_keep(frozen, capsys, monkeypatch):
    expected, lines = run(frozen, capsys)
    assert lines[0].startswith("maps: stored; those of ")
    monkeypatch.setenv("GRAFT_STORE", str(frozen.folder / "another"))
    monkeypatch.setenv("GRAFT_STORE_LIMIT", "100KB")
    found, lines = run(frozen, capsys)
    assert lines[0].startswith("maps: computed for each step; those of ")
    assert not default_folder().exists()
    assert found == expected


def test_metrics_and_a_line_name_the_batches_in_which_tensorflow_computes_the_maps(frozen, capsys):
    _, lines = run(frozen, capsys, fine_tune__maps="computed", extract__engine="tensorflow", extract__batch_size=100)
    engine = json.loads(paths.FINE_TUNE_METRICS.read_text())["engine"]
    assert engine.endswith(", float32 on CPU, batches of 8")
    assert lines[0] == f"maps: computed, as fine_tune.maps says; engine: {engine}"


def test_extract_stores_no_maps_that_fine_tuning_computes_and_gives_the_same_features(frozen):
    sizes, features = [], []
    for maps in ("computed", "stored"):
        frozen.set(**SMALL | {"fine_tune__maps": maps})
        extract.main()
        sizes.append(stored_bytes())
        features.append(paths.FEATURES.read_bytes())
        with Store(default_folder()) as store:
            assert store.prune(0) > 0
    assert features[0] == features[1]
    assert sizes[0] < sizes[1] / 2


def test_a_run_with_computed_maps_goes_on_from_its_checkpoint(frozen, capsys, monkeypatch):
    expected, _ = run(frozen, capsys, fine_tune__maps="computed")
    train_epoch = loop._train_epoch

    def killed(*arguments):
        row = train_epoch(*arguments)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(row)
        return row

    epochs = []
    monkeypatch.setattr(loop, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run(frozen, capsys, fine_tune__maps="computed")
    monkeypatch.setattr(loop, "_train_epoch", train_epoch)
    found, lines = run(frozen, capsys, fine_tune__maps="computed")
    assert "training goes on after epoch 2, where an earlier run ended" in lines
    assert found == expected


@pytest.mark.parametrize("maps", ["stored", "computed"])
def test_an_unreadable_image_ends_the_stage_in_one_line_with_its_name(frozen, capsys, maps):
    broken = read_image_table().part("train").files()[0]
    broken.write_bytes(b"no image")
    with pytest.raises(GraftError, match=rf"{broken.name}: not a readable image"):
        run(frozen, capsys, fine_tune__maps=maps)
