"""Accuracy and coverage by threshold of the largest probability."""

import numpy as np
import pytest

from graft.scores.metrics import outcomes
from graft.scores.operating_points import COLUMNS, THRESHOLDS, operating_points

CLASSES = ("a", "b")
PROBABILITIES = np.array([[0.96, 0.04], [0.64, 0.36], [0.12, 0.88], [0.45, 0.55]])
LABELS = np.array([0, 1, 1, 1])


def rows_at(threshold):
    found = [row for row in operating_points(outcomes(PROBABILITIES, LABELS), CLASSES) if row["threshold"] == threshold]
    return {row["class"]: row for row in found}


def test_at_zero_every_image_is_answered():
    rows = rows_at(0)
    assert rows["a"] == {
        "threshold": 0,
        "coverage": 1.0,
        "accuracy": 0.75,
        "class": "a",
        "class_coverage": 1.0,
        "precision": 0.5,
        "recall": 1.0,
    }
    assert (rows["b"]["precision"], rows["b"]["recall"]) == (1.0, pytest.approx(2 / 3, abs=1e-6))


def test_a_higher_threshold_leaves_out_what_is_less_sure():
    rows = rows_at(0.7)
    assert (rows["a"]["coverage"], rows["a"]["accuracy"]) == (0.5, 1.0)
    # Recall is of all images of the class, answered or not.
    assert rows["b"]["class_coverage"] == rows["b"]["recall"] == pytest.approx(1 / 3, abs=1e-6)


def test_a_share_of_no_images_is_empty():
    rows = rows_at(0.95)
    assert (rows["b"]["class_coverage"], rows["b"]["precision"]) == (0.0, "")


def test_a_threshold_that_no_image_reaches_has_no_rows():
    assert rows_at(0.97) == {}


def test_there_is_a_row_for_each_threshold_and_class_and_not_more_than_a_dozen_thresholds():
    sure = np.eye(2)[LABELS]
    rows = list(operating_points(outcomes(sure, LABELS), CLASSES))
    assert len(rows) == len(THRESHOLDS) * 2
    assert len(THRESHOLDS) <= 12
    assert {tuple(row) for row in rows} == {COLUMNS}


def test_a_class_without_images_has_no_recall():
    rows = list(operating_points(outcomes(PROBABILITIES[:1], LABELS[:1]), CLASSES))
    assert rows[1]["recall"] == rows[1]["class_coverage"] == ""
