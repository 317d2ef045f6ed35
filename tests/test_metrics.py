"""Scores: probabilities and labels in, numbers out, the same as scikit-learn's where it has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics

from graft.scores import metrics
from graft.scores.intervals import wilson_interval

# Four images, three classes: right, right, wrong (0 for 2), wrong (1 for 0).
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.1, 0.3], [0.3, 0.5, 0.2]])
LABELS = np.array([0, 1, 2, 0])


@st.composite
def judged(draw, least=2):
    """Draw probabilities (images, classes) and labels (images,), of at least so many classes."""
    images, classes = draw(st.integers(1, 40)), draw(st.integers(least, 7))
    weights = draw(arrays(float, (images, classes), elements=st.floats(0.01, 1)))
    labels = draw(arrays(int, images, elements=st.integers(0, classes - 1)))
    return weights / weights.sum(axis=1, keepdims=True), labels


def test_the_confusion_matrix_has_actual_classes_as_rows():
    found = metrics.confusion_matrix(PROBABILITIES.argmax(axis=1), LABELS, 3)
    np.testing.assert_array_equal(found, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


@given(judged())
def test_the_confusion_matrix_is_scikit_learns(case):
    probabilities, labels = case
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    expected = sklearn_metrics.confusion_matrix(labels, predicted, labels=np.arange(classes))
    np.testing.assert_array_equal(metrics.confusion_matrix(predicted, labels, classes), expected)


def test_all_figures_of_four_images():
    found = metrics.summary(PROBABILITIES, LABELS)
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["macro_f1"] == pytest.approx((2 * 1 / (2 + 2) + 2 * 1 / (1 + 2) + 0) / 3)
    assert found["top_k_accuracy"] == {"k": 2, "accuracy": 1.0}
    assert found["loss"] == pytest.approx(-np.log([0.8, 0.7, 0.3, 0.3]).mean())
    # Confidences 0.8, 0.7, 0.6 and 0.5 are in four different bins.
    assert found["expected_calibration_error"] == pytest.approx((0.2 + 0.3 + 0.6 + 0.5) / 4)
    assert found["images"] == 4


@given(judged())
def test_accuracy_and_loss_are_those_of_the_summary(case):
    found = metrics.summary(*case)
    assert metrics.accuracy_and_loss(*case) == pytest.approx({name: found[name] for name in ("accuracy", "loss")})


@given(judged())
def test_the_summary_has_the_top_k_accuracy_of_the_default_k(case):
    probabilities, labels = case
    k = metrics.default_k(probabilities.shape[1])
    expected = {"k": k, "accuracy": metrics.top_k_accuracy(probabilities, labels, k)}
    assert metrics.summary(probabilities, labels)["top_k_accuracy"] == expected


def test_the_figures_are_plain_numbers_that_json_takes():
    found = metrics.summary(PROBABILITIES.astype(np.float32), LABELS)
    assert list(found) == [
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "top_k_accuracy",
        "loss",
        "expected_calibration_error",
        "accuracy_low",
        "accuracy_high",
        "images",
    ]
    numbers = [*found["top_k_accuracy"].values(), *(value for value in found.values() if not isinstance(value, dict))]
    assert {type(number) for number in numbers} == {int, float}


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@given(judged())
def test_the_figures_are_scikit_learns(case):
    probabilities, labels = case
    predicted, found = probabilities.argmax(axis=1), metrics.summary(*case)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    means = {"average": "macro", "labels": np.unique(labels)}
    assert found["balanced_accuracy"] == pytest.approx(sklearn_metrics.recall_score(labels, predicted, **means))
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, **means))
    classes = np.arange(probabilities.shape[1])
    assert found["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities, labels=classes))


@given(judged(least=3), st.integers(1, 7))
def test_top_k_accuracy_is_scikit_learns(case, k):
    probabilities, labels = case
    # Without ties: of equals, scikit-learn takes the last classes.
    probabilities = probabilities + np.linspace(0, 1e-3, probabilities.size).reshape(probabilities.shape) ** 2
    k = min(k, probabilities.shape[1] - 1)
    classes = np.arange(probabilities.shape[1])
    expected = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=classes)
    assert metrics.top_k_accuracy(probabilities, labels, k) == pytest.approx(expected)


@given(judged(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(case, random):
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = metrics.summary(probabilities[order], labels[order])
    assert flat(shuffled) == pytest.approx(flat(metrics.summary(probabilities, labels)))


@given(judged())
def test_every_share_is_from_0_to_1_and_the_interval_contains_the_accuracy(case):
    found = metrics.summary(*case)
    assert all(0 <= flat(found)[name] <= 1 for name in flat(found) if name not in ("loss", "images", "k"))
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["top_k_accuracy"]["accuracy"] >= found["accuracy"]
    assert found["loss"] >= 0


def flat(found):
    return {name: value for name, value in found.items() if name != "top_k_accuracy"} | found["top_k_accuracy"]


def test_a_class_that_does_not_occur_does_not_lower_the_means():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    found = metrics.summary(probabilities, np.array([0, 1]))
    assert (found["balanced_accuracy"], found["macro_f1"]) == (1.0, 1.0)


@pytest.mark.parametrize(("classes", "k"), [(2, 1), (3, 2), (5, 2), (6, 5), (1000, 5)])
def test_k_is_smaller_than_the_number_of_classes(classes, k):
    assert metrics.default_k(classes) == k


def test_of_equally_probable_classes_the_first_are_the_most_probable():
    equal = np.full((1, 4), 0.25)
    assert [metrics.top_k_accuracy(equal, np.array([1]), k) for k in (1, 2)] == [0.0, 1.0]
    # NumPy sorts few values in a stable way, but more only if it is asked to.
    some_equal = np.tile([0.01, 0.0], (1, 100))
    assert [metrics.top_k_accuracy(some_equal, np.array([98]), k) for k in (49, 50)] == [0.0, 1.0]


@given(judged())
def test_precision_recall_and_f1_of_each_class_are_scikit_learns(case):
    probabilities, labels = case
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    matrix = metrics.confusion_matrix(predicted, labels, classes)
    found = metrics.per_class(matrix, [f"class {number}" for number in range(classes)])
    expected = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(classes), zero_division=np.nan
    )
    for key, values in zip(("precision", "recall", "f1", "images"), expected, strict=True):
        np.testing.assert_allclose([np.nan if row[key] is None else row[key] for row in found], values)


@given(judged())
def test_the_interval_of_each_figure_of_a_class_contains_it(case):
    probabilities, labels = case
    matrix = metrics.confusion_matrix(probabilities.argmax(axis=1), labels, probabilities.shape[1])
    for row in metrics.per_class(matrix, list(map(str, range(len(matrix))))):
        for key in ("precision", "recall", "f1"):
            if row[key] is None:
                assert row[f"{key}_low"] is row[f"{key}_high"] is None
            else:
                assert 0 <= row[f"{key}_low"] <= row[key] <= row[f"{key}_high"] <= 1


def test_the_intervals_of_a_class_are_wilsons():
    first, second = metrics.per_class(np.array([[8, 2], [1, 0]]), ["a", "b"])
    assert (first["class"], first["images"], first["predicted"]) == ("a", 10, 9)
    assert (first["recall_low"], first["recall_high"]) == wilson_interval(8, 10)
    assert (first["precision_low"], first["precision_high"]) == wilson_interval(8, 9)
    # 8 right of the 11 images that are a or predicted as a.
    assert first["f1_low"] == pytest.approx(2 * wilson_interval(8, 11)[0] / (1 + wilson_interval(8, 11)[0]))
    assert (second["precision"], second["recall"], second["f1"]) == (0, 0, 0)
