"""Cross-validation: each image is judged once, and two classifiers are compared image by image."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import one_stage
import pandas as pd
import pytest
import revisions
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.commands import crossval
from graft.core.errors import GraftError
from graft.core.files import write_text

ROOT = Path(__file__).resolve().parents[1]
FOLDS = [
    "path,actual,predicted,p_0,p_NA\na.jpg,0,0,0.9,0.1\nb.jpg,0,NA,0.4,0.6\nc.jpg,NA,NA,0.2,0.8\n",
    "path,actual,predicted,p_0,p_NA\nd.jpg,0,0,1.0,0.0\ne.jpg,NA,NA,0.0,1.0\n",
]


@pytest.fixture
def repository(project):
    revisions.start()
    return project


@pytest.fixture
def images(repository):
    """What `collected` makes of two folds, with class names that pandas would take for a number and for nothing."""
    for fold, predictions in enumerate(FOLDS):
        revisions.commit(f"fold{fold}", {"metrics/predictions.csv": predictions})
    return crossval.collected(["fold0", "fold1"])


def test_every_image_is_collected_with_its_fold_and_names_stay_text(images):
    assert images[crossval.COLUMNS].to_csv(index=False, lineterminator="\n") == (
        "path,fold,actual,predicted\na.jpg,0,0,0\nb.jpg,0,0,NA\nc.jpg,0,NA,NA\nd.jpg,1,0,0\ne.jpg,1,NA,NA\n"
    )


def test_an_image_that_is_tested_twice_is_refused(repository):
    revisions.commit("fold0", {"metrics/predictions.csv": FOLDS[0]})
    with pytest.raises(GraftError, match=r"^a\.jpg: tested in more than one fold; a data set that brings its own"):
        crossval.collected(["fold0", "fold0"])


def test_the_figures_are_over_all_images_and_over_the_folds(images):
    figures = crossval.figures(images)
    assert figures.pop("recall") == pytest.approx({"0": 2 / 3, "NA": 1})
    assert figures.pop("fold_accuracy") == pytest.approx([2 / 3, 1])
    assert figures == pytest.approx(
        {
            "accuracy": 4 / 5,
            # R: prop.test(4, 5, correct = FALSE)
            "accuracy_low": 0.3755,
            "accuracy_high": 0.9638,
            "accuracy_mean": 5 / 6,
            "accuracy_spread": np.sqrt(1 / 18),
            "balanced_accuracy": 5 / 6,
            # Right with 0.9, wrong with 0.6, right with 0.8, twice right with 1: each alone in its bin but the last.
            "expected_calibration_error": (0.1 + 0.6 + 0.2) / 5,
            "images": 5,
            "folds": 2,
        },
        abs=1e-4,
    )


def test_the_head_alone_is_pooled_from_its_folds():
    heads = [
        {"accuracy": 2 / 3, "images": 3, "balanced_accuracy": 0.75},
        {"accuracy": 1.0, "images": 2, "balanced_accuracy": 1.0},
    ]
    figures = crossval.head_figures(heads)
    assert figures["accuracy"] == pytest.approx(4 / 5)
    assert figures["accuracy_mean"] == pytest.approx(5 / 6)
    assert figures["balanced_accuracy_mean"] == pytest.approx(0.875)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=2, max_size=6))
def test_the_accuracy_over_all_images_lies_within_its_interval_and_between_the_folds(counts):
    images = np.array([right + wrong for right, wrong in counts])
    right = np.array([right for right, _ in counts])
    found = crossval.shares(right, images)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert (right / images).min() - 1e-12 <= found["accuracy"] <= (right / images).max() + 1e-12


def test_the_validation_accuracy_is_that_of_the_exported_model(repository):
    metrics = {
        "head": {"head": {}, "head_validation": {"accuracy": 0.75}},
        "fine_tune": {"fine_tuned_validation": {"accuracy": 0.875}},
        "export": {"exported": "head", "exported_validation": {"accuracy": 0.8}},
    }
    revisions.commit("fold0", {f"metrics/{name}.json": json.dumps(values) for name, values in metrics.items()})
    assert crossval.validation_accuracy("fold0") == 0.8


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        # Two tails of ten throws of a coin: 2 (1 + 10) / 2^10.
        (1, 9, 22 / 1024),
        # 2 (1 + 6 + 15) / 2^6
        (2, 4, 44 / 64),
        (0, 5, 2 / 32),
        (3, 3, 1.0),
        (0, 0, 1.0),
        # Agresti, Categorical Data Analysis, section 10.1, ratings of a prime minister: z^2 = 17.36, p < 0.0001.
        (150, 86, 3.7e-5),
    ],
)
def test_mcnemars_test_is_the_exact_binomial_one(only_first, only_second, p_value):
    assert crossval.mcnemar(only_first, only_second) == pytest.approx(p_value, rel=0.02)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemars_test_does_not_care_who_is_first(only_first, only_second):
    p_value = crossval.mcnemar(only_first, only_second)
    assert 0 < p_value <= 1
    assert p_value == pytest.approx(crossval.mcnemar(only_second, only_first))


def table(text):
    return pd.read_csv(io.StringIO("path,actual,predicted\n" + text), dtype=str)


HERE = table("a,x,x\nb,x,x\nc,y,y\nd,y,x\ne,y,x\n")
THERE = table("e,y,y\nd,y,x\nc,y,x\nb,x,y\na,x,x\n")


def test_two_classifiers_are_paired_by_image_and_only_their_differences_count():
    assert crossval.compared(HERE, THERE, "there") == {
        "against": "there",
        "accuracy": 0.4,
        "only_this_right": 2,
        "only_other_right": 1,
        "p_value": 1.0,
    }


def test_the_same_classifier_does_not_differ_from_itself():
    pair = crossval.compared(HERE, HERE, "here")
    assert (pair["only_this_right"], pair["only_other_right"], pair["p_value"]) == (0, 0, 1.0)


@settings(max_examples=20)
@given(st.permutations(range(5)), st.permutations(range(5)))
def test_the_comparison_does_not_depend_on_the_order_of_the_images(order, other):
    assert crossval.compared(HERE.iloc[order], THERE.iloc[other], "x") == crossval.compared(HERE, THERE, "x")


def test_other_images_are_refused():
    other = table("a,x,x\nb,x,x\nc,y,y\nz,y,x\n")
    with pytest.raises(
        GraftError, match=r"^other: not the same images, 2 only here and 1 only there, such as d, e, z$"
    ):
        crossval.compared(HERE, other, "other")


def test_other_classes_are_refused():
    with pytest.raises(GraftError, match=r"^other: not the same classes, 1 differ, such as e$"):
        crossval.compared(HERE, table("a,x,x\nb,x,x\nc,y,y\nd,y,x\ne,x,x\n"), "other")


@pytest.mark.parametrize("name", ["kept.csv", "kept.json", "mobilenet", "main"])
def test_another_cross_validation_is_a_file_a_name_or_a_revision(repository, name):
    text = "path,fold,actual,predicted\na.jpg,0,0,NA\n"
    write_text("kept.csv", text)
    write_text(".cache/crossval/mobilenet.csv", text)
    revisions.commit("results", {"metrics/crossval.csv": text})
    assert crossval.earlier(name).to_dict("records") == [{"path": "a.jpg", "fold": 0, "actual": "0", "predicted": "NA"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^kept\.csv: not a CSV file \("),
        ("path,actual\na,b\n", r"^kept\.csv: not written by crossval, without a column fold$"),
        ("path,fold,actual,predicted\na,0,x,x\na,1,x,x\n", r"^kept\.csv: not written by crossval, with a path twice$"),
    ],
)
def test_a_file_that_crossval_did_not_write_is_refused(project, text, message):
    Path("kept.csv").write_text(text)
    with pytest.raises(GraftError, match=message):
        crossval.earlier("kept.csv")


def test_a_revision_without_a_cross_validation_is_one_line(repository):
    revisions.commit("nothing", {})
    with pytest.raises(GraftError, match=r"^metrics/crossval\.csv at nothing: [^\n]+; give the name of"):
        crossval.earlier("nothing")


def test_a_fold_cannot_be_set(project):
    with pytest.raises(GraftError, match=r"^split\.fold: every fold has its turn; leave it out$"):
        crossval.fold_experiments("any", {"split.fold": "1"})


def test_a_failed_fold_leaves_the_earlier_result_whole(project, monkeypatch, tmp_path):
    one_stage.write()
    write_text(crossval.SUMMARY, "earlier")
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    monkeypatch.setattr("sys.argv", ["crossval", "-S", "lr=2", "--name", "fast"])
    with pytest.raises(GraftError, match=r"^fast-fold0: failed, lr is too large; [^\n]* its log is [^\n]+\.log$"):
        crossval.main()
    assert one_stage.git("status", "--porcelain") == ""
    assert crossval.SUMMARY.read_text() == "earlier"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_passes_its_variables_on():
    def printed(*arguments):
        # WSL has a variable NAME of its own.
        command = ["make", "-n", "--no-print-directory", *arguments]
        result = subprocess.run(command, cwd=ROOT, env=os.environ | {"NAME": "host"}, capture_output=True, text=True)
        return [line.split() for line in result.stdout.splitlines()][-1]

    crossval = ["python", "-m", "graft.commands.crossval"]
    assert printed("crossval") == crossval
    assert printed("crossval", "SET=lr=1e-4 seed=1", "NAME=mobile", "AGAINST=main") == [
        *crossval, "-S", "'lr=1e-4'", "-S", "'seed=1'", "--name", "'mobile'", "--against", "'main'",
    ]  # fmt: skip
    assert printed("study", "NAME=depth", "SET=lr=1") == ["python", "-m", "graft.commands.study", "-S", "'lr=1'", "'depth'"]
