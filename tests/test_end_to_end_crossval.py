"""`make crossval`, by the real dvc."""

import json

# What costs least, and still goes through every stage.
SETTINGS = ("split.folds=2", "fine_tune.epochs=0", "augment.views=0")


def test_folds_run_as_experiments_once_and_the_workspace_stays_as_it_was(clone):
    crossval = ["python", "-m", "graft.commands.crossval", *(part for text in SETTINGS for part in ("-S", text))]
    printed = clone.run(*crossval, "--name", "first")
    assert "done before" not in printed
    assert clone.git("status", "--porcelain") == "?? metrics/crossval.csv\n?? metrics/crossval.json\n"
    summary = json.loads((clone.path / "metrics/crossval.json").read_text())
    images = (clone.path / "metrics/crossval.csv").read_text().splitlines()
    assert len(images) == 1 + summary["images"] == 1 + len(list(clone.photos.rglob("*.*")))
    assert summary["folds"] == 2
    # Colours: nothing easier.
    assert summary["recall"].keys() == {"blue", "green", "red"}
    assert min(summary["accuracy"], summary["head"]["accuracy"]) > 0.9
    for log in (clone.path / ".cache/experiments").glob("first-*.log"):
        assert "of 60 images, 0 computed now" in log.read_text()
    again = clone.run(*crossval, "--name", "second", "--against", "first")
    assert again.count("done before, as first-fold") == 2
    assert "McNemar p 1" in again
    assert json.loads((clone.path / "metrics/crossval.json").read_text())["mcnemar"]["only_this_right"] == 0
