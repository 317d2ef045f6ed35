"""Experiments, branches, and the workflow of continuous integration, by the commands that people type."""

import json
import os
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from clones import ROOT, SMALL, STAGES, experiments, make_environment, ran, wait_for


def first_learning_rate(history: str) -> float:
    """Return the learning rate in the first epoch of a metrics/history.csv."""
    header, row, *_ = history.splitlines()
    return float(dict(zip(header.split(","), row.split(","), strict=True))["learning_rate"])


def test_an_experiment_with_another_learning_rate_runs_four_stages_and_no_stage_when_it_is_repeated(finished, clone):
    history = Path("metrics/history.csv")
    output = clone.dvc("exp", "run", "-S", "lr=1e-4")
    assert ran(output) == ["fine_tune", "export", "evaluate", "describe"]
    ratio = 1e-4 / SMALL["lr"]
    before, after = (first_learning_rate((place.path / history).read_text()) for place in (finished, clone))
    assert after / before == pytest.approx(ratio)
    first = clone.outputs()
    # Settings that ran before: the committed ones, and those of the experiment.
    assert ran(clone.dvc("exp", "run", "-S", f"lr={SMALL['lr']}")) == []
    assert clone.outputs()["models/classifier.tflite"] == finished.outputs()["models/classifier.tflite"]
    assert ran(clone.dvc("exp", "run", "-S", "lr=1e-4")) == []
    assert clone.outputs() == first


def test_restore_brings_back_the_last_commit_after_an_experiment_and_a_refused_one(clone):
    before = clone.outputs()
    clone.dvc("exp", "run", "-S", "head.C=2.0", "train_head")
    assert clone.outputs()["metrics/head.json"] != before["metrics/head.json"]
    assert clone.attempt("dvc", "exp", "run", "-S", "dataset=../nowhere").returncode != 0
    clone.run("make", "restore")
    tracked = clone.git("ls-files", "params.yaml", "dvc.lock", "metrics").split()
    # By their content, for `git status` may take a file of the same size for unchanged.
    assert clone.git("hash-object", *tracked) == clone.git("rev-parse", *(f"HEAD:{name}" for name in tracked))
    assert ran(clone.dvc("repro")) == []


def test_for_display_names_and_other_views_the_backbone_need_not_run_again(clone):
    clone.set(augment__randaugment__count=2, augment__shear=10, display_names={"red": "红色"})
    # What comes after the export runs if the exported file is another one, which DVC cannot know before.
    assert ran(clone.dvc("repro", "--dry")) == ["resolve", "extract", "fine_tune", "export"]


@pytest.mark.slow
def test_display_names_and_other_views_are_set_on_the_command_line_and_the_backbone_runs_no_more(clone):
    settings = ("augment.randaugment.count=2", "augment.shear=10", 'display_names={red: "红色", green: "vert"}')
    output = clone.dvc("exp", "run", *(part for setting in settings for part in ("-S", setting)))
    assert ran(output) == ["resolve", "extract", "fine_tune", "export", "evaluate", "describe"]
    description = json.loads((clone.path / "models/labels.json").read_text(encoding="utf-8"))
    assert description["labels"] == ["blue", "green", "red"]
    assert description["display_names"] == {"green": "vert", "red": "红色"}
    assert (clone.path / "metrics/plots/predictions.png").exists()
    assert "红色 " in clone.run(sys.executable, "-m", "graft", "predict", clone.photos / "red")


HIDDEN_LAYERS = {
    "head__kind": "mlp",
    "head__C": "auto",
    "head__widths": [8],
    "head__dropout": 0.2,
    "head__views": 2,
    # Two epochs show two of an image's views: the first ones, which the head has learnt from.
    "augment__views": 9,
}


def assert_views_come_from_the_store(output):
    assert re.search(r"features \[\d+\] of 60 images and \d+ views, \d+ computed now", output)
    assert re.search(r"views of \d+ images, 0 computed now", output)


def test_fine_tuning_finds_the_views_that_a_head_with_hidden_layers_has_learnt_from_in_the_store(
    clone, monkeypatch, capsys
):
    clone.set(**HIDDEN_LAYERS)
    monkeypatch.chdir(clone.path)
    for name in ("DVC_ROOT", "GRAFT_STORE"):
        monkeypatch.delenv(name, raising=False)
    for stage in ("resolve", "extract", "train_head", "fine_tune"):
        import_module(f"stages.{stage}").main()
    assert_views_come_from_the_store(capsys.readouterr().out)


@pytest.mark.slow
def test_a_head_with_hidden_layers_learns_from_views_which_fine_tuning_then_finds_in_the_store(clone):
    clone.set(**HIDDEN_LAYERS)
    output = clone.dvc("repro", "fine_tune")
    assert ran(output) == ["resolve", "extract", "train_head", "fine_tune"]
    assert_views_come_from_the_store(output)
    # Without views the features are what they were: nothing is trained.
    clone.git("checkout", "--quiet", "--force", ".")
    clone.dvc("checkout")
    clone.set(augment__rotation=20)
    assert ran(clone.dvc("repro", "train_head")) == ["resolve", "extract"]


@pytest.mark.slow
def test_a_head_with_a_block_on_the_map_is_trained_exported_and_fine_tuned(clone):
    settings = ("pooling=none", "head.kind=se", "head.C=auto", "head.widths=[8]", "export.model=head")
    clone.dvc("exp", "run", *(part for setting in settings for part in ("-S", setting)))
    assert json.loads((clone.path / "metrics/export.json").read_text(encoding="utf-8"))["exported"] == "head"
    head = json.loads((clone.path / "metrics/head.json").read_text(encoding="utf-8"))["head"]
    accuracy = json.loads((clone.path / "metrics/accuracy.json").read_text(encoding="utf-8"))
    assert accuracy["accuracy"] == head["accuracy"]
    assert accuracy["loss"] == pytest.approx(head["loss"], rel=1e-3)


@pytest.mark.slow
def test_queued_experiments_read_their_learning_rates_as_numbers_and_share_data_and_store(clone):
    rates = {"small": "1e-5", "middle": "3e-05"}
    for name, rate in rates.items():
        clone.dvc("exp", "run", "--queue", "--name", name, "-S", f"lr={rate}")
    clone.dvc("queue", "start")
    wait_for(clone, rates.keys())
    base = first_learning_rate(clone.git("show", "main:metrics/history.csv"))
    for name, rate in rates.items():
        history = clone.git("show", f"{experiments(clone)[name]}:metrics/history.csv")
        assert first_learning_rate(history) / base == pytest.approx(float(rate) / SMALL["lr"])
        log = clone.dvc("queue", "logs", name)
        assert ran(log) == ["fine_tune", "export", "evaluate", "describe"]
        assert re.search(r"views of \d+ images, 0 computed now", log)
    # The workspace stays as it was.
    assert clone.git("status", "--porcelain") == ""


@pytest.fixture(scope="module")
def origin(finished, tmp_path_factory):
    """A clone with a second branch `proposal`, of other parameters, and its results."""
    clone = finished.copied(tmp_path_factory.mktemp("origin"))
    clone.git("checkout", "--quiet", "-b", "proposal")
    clone.set(export__model="head", gate__max_drop=0.6)
    assert ran(clone.dvc("repro")) == ["resolve", "export", "evaluate", "describe"]
    clone.commit("Export the head")
    return clone


@pytest.fixture(scope="module")
def visitor(origin, tmp_path_factory):
    """A fresh clone of `origin` without any cache, on the branch `proposal`; it has a branch main too."""
    clone = origin.cloned(tmp_path_factory.mktemp("visitor"))
    clone.git("branch", "main", "origin/main")
    return clone


def figures(table: str) -> dict[tuple[str, str], list[str]]:
    """Return the two values of each metric, by its file and name, in what `dvc metrics diff --md` prints."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {(row[0], row[1]): row[2:4] for row in cells[2:]}


def test_branches_are_compared_in_a_clone_without_any_cache(visitor):
    table = figures(visitor.dvc("metrics", "diff", "main", "--md"))
    assert table["metrics/export.json", "exported"] == ["fine_tuned", "head"]
    before, after = table["metrics/accuracy.json", "loss"]
    assert float(before) != float(after)
    assert not (visitor.path / ".dvc/cache").exists()


WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
# These install what tests do not fetch: another Python's packages, a browser, a linter.
INSTALLING = ("The same outputs with the oldest Python", "Browser for the tests of the page", "Linter of workflows")
STEPS = [
    step
    for job in WORKFLOW["jobs"].values()
    for step in job["steps"]
    if "run" in step and step["name"] not in INSTALLING
]
# What GitHub would put there for a pull request.
EXPRESSIONS = {
    "github.base_ref && format('origin/{0}', github.base_ref) || 'HEAD~1'": "origin/main",
    "github.token": "a token",
    "github.event.pull_request.number": "7",
}
GH = '#!/bin/sh\nprintf "%s\\n" "$@" > "$GH_ASKED"\ncp metrics_diff.md "$GH_ASKED.body"\n'


def filled_in(text: str) -> str:
    return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda match: EXPRESSIONS[match[1]], text)


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="make works in a virtual environment")
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_the_workflow_of_continuous_integration_reproduces_the_results_to_the_byte_in_a_fresh_clone(visitor):
    make_environment(visitor)
    # What mypy knows of the packages; without it, the check of the types alone takes half a minute.
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", visitor.path / ".mypy_cache")
    tools = visitor.folder / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH)
    (tools / "gh").chmod(0o755)
    asked = visitor.folder / "asked"
    variables = {
        "PATH": os.pathsep.join([str(tools), visitor.environment()["PATH"]]),
        "PYTEST_ADDOPTS": "tests/test_pipeline.py",
        "GH_ASKED": str(asked),
    }
    names = [step["name"] for step in STEPS]
    assert names[:3] == ["Style, types and tests", "Results from the DVC remote", "Pipeline"]
    printed = {}
    for step in STEPS:
        settings = {name: filled_in(value) for name, value in (WORKFLOW["env"] | step.get("env", {})).items()}
        printed[step["name"]] = visitor.run("bash", "-e", "-c", filled_in(step["run"]), **variables, **settings)
    assert " passed" in printed["Style, types and tests"]
    # Not evaluate: git brought all its outputs, and the classifier came out with the MD5 that dvc.lock has.
    assert ran(printed["Pipeline"]) == [stage for stage in STAGES if stage != "evaluate"]
    assert "at origin/main" in printed["Gate"]
    assert asked.read_text().split()[:3] == ["pr", "comment", "7"]
    assert figures(Path(f"{asked}.body").read_text())["metrics/export.json", "exported"] == ["fine_tuned", "head"]
    assert ran(visitor.dvc("repro", "--single-item", "--force", "evaluate")) == ["evaluate"]
    # dvc.lock has the MD5 of every output, and metrics/ is in git: another clone had written the same.
    assert visitor.git("status", "--porcelain", "--untracked-files=no") == ""


def test_dvc_draws_the_wanted_plots_with_named_axes_and_no_other(finished):
    finished.dvc("plots", "show", "--out", finished.folder / "charts")
    page = (finished.folder / "charts/index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'id="(metrics_plots_\w+)"', page)) == {
        "metrics_plots_confusion_png", "metrics_plots_learning_curves_png", "metrics_plots_misclassified_png",
        "metrics_plots_predictions_png",
    }  # fmt: skip
    assert set(re.findall(r'"text": "([^"]+)"', page)) == {
        "Number of test images by actual and predicted class",
        "Share of each actual class by predicted class",
        "Share of each class's test images that are right (recall)",
        "Accuracy of the answered images by their share for thresholds of the largest probability",
        "Loss by epoch of fine-tuning",
        "Accuracy by epoch of fine-tuning",
        "Learning rate by epoch of fine-tuning",
    }
    assert set(re.findall(r'"title": "([^"]+)"', page)) == {
        "actual class", "predicted class", "epoch", "cross-entropy (nats)", "share of the images that are right",
        "share of the images that are answered", "share of these that are right", "recall",
        "learning rate",
    }  # fmt: skip
