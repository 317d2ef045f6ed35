"""`graft crossval`, by the real dvc."""

import json

import pytest
from clones import experiments, ran

# What costs least, and still goes through every stage.
SETTINGS = ("split.folds=2", "fine_tune.epochs=0", "augment.views=0")
CROSSVAL = ("-m", "graft", "crossval", *(part for text in SETTINGS for part in ("-S", text)))


def logs(clone, name):
    return [path.read_text() for path in sorted((clone.path / ".cache/experiments").glob(f"{name}-*.log"))]


def test_a_fold_runs_in_a_temporary_clone_with_the_images_and_the_store_of_the_workspace(clone):
    settings = ("-S", "split.folds=2", "-S", "split.fold=1")
    printed = clone.dvc("exp", "run", "--temp", "--name", "fold", *settings, "train_head")
    assert ran(printed) == ["resolve", "split", "extract", "train_head"]
    assert "of 60 images, 0 computed now" in printed
    assert clone.git("status", "--porcelain") == ""
    head = json.loads(clone.git("show", f"{experiments(clone)['fold']}:metrics/head.json"))
    assert head["head"]["images"] != json.loads((clone.path / "metrics/head.json").read_text())["head"]["images"]


# test_crossval.py runs the command on a pipeline of one stage.
@pytest.mark.slow
def test_folds_run_as_experiments_and_the_workspace_stays_as_it_was_and_nothing_is_computed_twice(clone):
    printed = clone.run("python", *CROSSVAL, "--name", "first")
    assert "nothing had to be computed" not in printed
    assert clone.git("status", "--porcelain") == "?? metrics/crossval.csv\n?? metrics/crossval.json\n"
    summary = json.loads((clone.path / "metrics/crossval.json").read_text())
    images = (clone.path / "metrics/crossval.csv").read_text().splitlines()
    assert len(images) == 1 + summary["images"] == 1 + len(list(clone.photos.rglob("*.*")))
    assert summary["folds"] == 2
    # Colours: nothing easier.
    assert summary["recall"].keys() == {"blue", "green", "red"}
    assert min(summary["accuracy"], summary["head"]["accuracy"]) > 0.9
    for log in logs(clone, "first"):
        assert "of 60 images, 0 computed now" in log
    printed = clone.run("python", *CROSSVAL, "--name", "second", "--against", "first")
    assert printed.count("nothing had to be computed") == 2
    # Its outputs are links, which are in no cache.
    assert [ran(log) for log in logs(clone, "second")] == 2 * [["resolve"]]
    assert "McNemar p 1" in printed
    again = json.loads((clone.path / "metrics/crossval.json").read_text())
    assert again.pop("mcnemar")["only_this_right"] == 0
    assert again == summary | {"name": "second", "experiments": ["second-fold0", "second-fold1"]}
