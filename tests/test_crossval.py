"""Cross-validation: each image is judged once, and two classifiers are compared image by image."""

import io
import os
import re
import shutil
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import one_stage
import pandas as pd
import pytest
import revisions
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.commands import crossval, crossval_figures
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, write_text

ROOT = Path(__file__).resolve().parents[1]
HEADER = "path,actual,predicted,p_actual,p_predicted,second,p_second\n"
FOLDS = [
    HEADER + "a.jpg,0,0,0.9,0.9,NA,0.1\nb.jpg,0,NA,0.4,0.6,0,0.4\nc.jpg,NA,NA,0.8,0.8,0,0.2\n",
    HEADER + "d.jpg,0,0,1.0,1.0,NA,0.0\ne.jpg,NA,NA,1.0,1.0,0,0.0\n",
]


@pytest.fixture
def repository(project):
    revisions.start()
    return project


@pytest.fixture
def images(repository):
    """The tested images of two folds, with class names that pandas would take for a number and for nothing."""
    for fold, predictions in enumerate(FOLDS):
        revisions.commit(f"fold{fold}", {"metrics/predictions.csv": predictions})
    return crossval.tested_images(["fold0", "fold1"])


def test_every_image_is_listed_with_its_fold_and_names_stay_text(images):
    assert images[crossval.COLUMNS].to_csv(index=False, lineterminator="\n") == (
        "path,fold,actual,predicted\na.jpg,0,0,0\nb.jpg,0,0,NA\nc.jpg,0,NA,NA\nd.jpg,1,0,0\ne.jpg,1,NA,NA\n"
    )


def test_the_figures_are_over_all_images_and_over_the_folds(images):
    figures = crossval_figures.of_images(images)
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
    figures = crossval_figures.of_heads(heads)
    assert figures["accuracy"] == pytest.approx(4 / 5)
    assert figures["accuracy_mean"] == pytest.approx(5 / 6)
    assert figures["balanced_accuracy_mean"] == pytest.approx(0.875)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=2, max_size=6))
def test_the_accuracy_over_all_images_lies_within_its_interval_and_between_the_folds(counts):
    images = np.array([right + wrong for right, wrong in counts])
    right = np.array([right for right, _ in counts])
    found = crossval_figures.accuracies(right, images)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert (right / images).min() - 1e-12 <= found["accuracy"] <= (right / images).max() + 1e-12


def table(text):
    return pd.read_csv(io.StringIO("path,actual,predicted\n" + text), dtype=str)


HERE = table("a,x,x\nb,x,x\nc,y,y\nd,y,x\ne,y,x\n")
THERE = table("e,y,y\nd,y,x\nc,y,x\nb,x,y\na,x,x\n")


def test_two_classifiers_are_paired_by_image_and_only_their_differences_count():
    assert crossval_figures.mcnemar_test(HERE, THERE, "there") == {
        "against": "there",
        "accuracy": 0.4,
        "only_this_right": 2,
        "only_other_right": 1,
        "p_value": 1.0,
    }


def test_the_same_classifier_does_not_differ_from_itself():
    pair = crossval_figures.mcnemar_test(HERE, HERE, "here")
    assert (pair["only_this_right"], pair["only_other_right"], pair["p_value"]) == (0, 0, 1.0)


@settings(max_examples=20)
@given(st.permutations(range(5)), st.permutations(range(5)))
def test_the_comparison_does_not_depend_on_the_order_of_the_images(order, other):
    assert crossval_figures.mcnemar_test(HERE.iloc[order], THERE.iloc[other], "x") == crossval_figures.mcnemar_test(
        HERE, THERE, "x"
    )


def test_other_images_are_refused():
    other = table("a,x,x\nb,x,x\nc,y,y\nz,y,x\n")
    with pytest.raises(
        GraftError, match=r"^other: not the same images, 2 only here and 1 only there, such as d, e, z$"
    ):
        crossval_figures.mcnemar_test(HERE, other, "other")


def test_other_classes_are_refused():
    with pytest.raises(GraftError, match=r"^other: not the same classes, 1 differ, such as e$"):
        crossval_figures.mcnemar_test(HERE, table("a,x,x\nb,x,x\nc,y,y\nd,y,x\ne,x,x\n"), "other")


@pytest.mark.parametrize("name", ["kept.csv", "kept.json", "mobilenet", "main"])
def test_another_cross_validation_is_a_file_a_name_or_a_revision(repository, name):
    text = "path,fold,actual,predicted\na.jpg,0,0,NA\n"
    write_text("kept.csv", text)
    write_text(".cache/crossval/mobilenet.csv", text)
    revisions.commit("results", {"metrics/crossval.csv": text})
    assert crossval.other_images(name).to_dict("records") == [
        {"path": "a.jpg", "fold": 0, "actual": "0", "predicted": "NA"}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^kept\.csv: not a CSV file \("),
        ("path,actual\na,b\n", r"^kept\.csv: no column predicted; path, actual and predicted are needed$"),
        ("path,fold,actual,predicted\na,0,x,x\na,1,x,x\n", r"^kept\.csv: the path a is in it twice$"),
    ],
)
def test_a_file_that_crossval_did_not_write_is_refused(project, text, message):
    Path("kept.csv").write_text(text)
    with pytest.raises(GraftError, match=message):
        crossval.other_images("kept.csv")


def test_a_revision_without_a_cross_validation_is_one_line(repository):
    revisions.commit("nothing", {})
    with pytest.raises(GraftError, match=r"^metrics/crossval\.csv at nothing: [^\n]+; give the name of"):
        crossval.other_images("nothing")


def test_a_fold_cannot_be_set(project):
    with pytest.raises(GraftError, match=r"^split\.fold: every fold has its turn; leave it out$"):
        crossval.fold_experiments("any", {"split.fold": "1"})


def run_crossval(*arguments):
    parser = ArgumentParser()
    crossval.add_arguments(parser)
    crossval.main(parser.parse_args(arguments))


@pytest.fixture
def pipeline(project, monkeypatch, tmp_path):
    """Return a function that makes the project a repository with a pipeline of one stage, its script as given."""

    def make(script=one_stage.SCRIPT, **options):
        one_stage.write()
        Path("stages/evaluate.py").write_text(script)
        one_stage.commit(tmp_path / "home", monkeypatch.setenv, **options)

    return make


def test_a_project_in_a_subfolder_of_a_git_repository_is_judged_on_the_images_of_all_folds(pipeline, capsys):
    pipeline(top="..")
    run_crossval("-S", "split.folds=2", "--name", "sub")
    written = "written: metrics/crossval.json; metrics/crossval.csv, each image; .cache/crossval/sub.csv, the same for "
    assert capsys.readouterr().out.splitlines()[-1].startswith(written)
    assert paths.CROSSVAL_IMAGES.read_text() == (
        "path,fold,actual,predicted\n01.png,0,a,a\n02.png,0,b,a\n11.png,1,a,a\n12.png,1,b,a\n"
    )
    assert read_json(paths.CROSSVAL)["experiments"] == ["sub-fold0", "sub-fold1"]


def test_a_failed_fold_leaves_the_earlier_result_whole(pipeline):
    write_text(paths.CROSSVAL, "earlier")
    pipeline()
    with pytest.raises(GraftError, match=r"^fast-fold0: failed, lr is too large; [^\n]* its log is [^\n]+\.log$"):
        run_crossval("-S", "lr=2", "--name", "fast")
    assert one_stage.git("status", "--porcelain") == ""
    assert paths.CROSSVAL.read_text() == "earlier"


WITH_TEST_PART = "path,label,split\ntrain/a/1.png,a,train\ntest/a/1.png,a,test\n"
NO_FOLDS = r"^data/images\.csv: the data set has its own test part, so it has no folds; "


def test_a_data_set_with_its_own_test_part_is_refused_after_the_first_run_on_it(pipeline, capsys):
    pipeline(one_stage.SCRIPT.replace('"any.png,a,"', '"any.png,a,test"'))
    with pytest.raises(GraftError, match=NO_FOLDS):
        run_crossval()
    assert re.fullmatch(r"1 of 5: crossval-fold0 \(\d+ s\)\n", capsys.readouterr().out)


LOCK = "schema: '2.0'\nstages: {download: {cmd: any, params: {params.yaml: {dataset: digits}}}}\n"


def test_a_data_set_with_its_own_test_part_that_the_workspace_has_is_refused_before_anything_runs(pipeline, capsys):
    pipeline()
    write_text("dvc.lock", LOCK)
    write_text(paths.IMAGES, WITH_TEST_PART)
    with pytest.raises(GraftError, match=NO_FOLDS):
        run_crossval()
    assert capsys.readouterr().out == ""


def test_the_images_of_the_workspace_say_nothing_of_another_data_set(project):
    write_text("dvc.lock", LOCK)
    write_text(paths.IMAGES, WITH_TEST_PART)
    assert crossval.listed_images({"lr": "0.5"}) == WITH_TEST_PART
    assert crossval.listed_images({"dataset": "flower_photos"}) is None


@pytest.mark.parametrize("present", [paths.IMAGES, Path("dvc.lock")])
def test_without_a_run_in_the_workspace_no_images_are_known(project, present):
    write_text(present, LOCK)
    assert crossval.listed_images({}) is None


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_passes_its_variables_on():
    def printed(*arguments):
        # WSL has a variable NAME of its own.
        command = ["make", "-n", "--no-print-directory", *arguments]
        result = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"NAME": "host"}, capture_output=True, check=True, text=True
        )
        return [line.split() for line in result.stdout.splitlines()][-1]

    crossval = ["python", "-m", "graft", "crossval"]
    assert printed("crossval") == crossval
    assert printed("crossval", "SET=lr=1e-4 seed=1", "NAME=mobile", "AGAINST=main") == [
        *crossval, "-S", "'lr=1e-4'", "-S", "'seed=1'", "--name", "'mobile'", "--against", "'main'",
    ]  # fmt: skip
    study = ["python", "-m", "graft", "study"]
    assert printed("study", "NAME=depth", "SET=lr=1") == [*study, "-S", "'lr=1'", "'depth'"]
