"""Label errors: which labels confident learning counts as wrong, how they are ranked, and how a ranking is judged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.scores.label_errors import class_thresholds, find_label_errors, precision_and_average_precision

# Images of class 0 and 1; the third is labelled 0 and looks like 1, the last looks a little more like 0.
PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.55, 0.45]])
LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_the_threshold_of_a_class_is_its_mean_probability_over_the_images_with_its_label():
    np.testing.assert_allclose(class_thresholds(PROBABILITIES, LABELS), [0.6, 0.65])


def test_for_a_class_that_no_image_has_no_image_counts():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1]])
    assert class_thresholds(probabilities, np.array([0, 1]))[2] == np.inf
    assert find_label_errors(probabilities, np.array([0, 1])).suspect.tolist() == [False, False]


def test_a_label_is_suspect_where_another_class_reaches_its_threshold():
    found = find_label_errors(PROBABILITIES, LABELS)
    # The last image is more probably of class 0, but does not reach the threshold of 0.6.
    assert found.suspect.tolist() == [False, False, True, False, False, False]


def test_the_score_is_the_improbability_of_the_given_label():
    found = find_label_errors(PROBABILITIES, LABELS)
    np.testing.assert_allclose(found.scores, [0.1, 0.2, 0.9, 0.2, 0.3, 0.55])


def test_the_likelier_class_is_the_most_probable_of_the_others():
    probabilities = np.array([[0.5, 0.2, 0.3], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    assert find_label_errors(probabilities, np.array([0, 1, 2])).likelier.tolist() == [2, 0, 1]


def test_of_equally_probable_classes_the_given_one_is_right():
    assert not find_label_errors(np.full((4, 2), 0.5), np.array([0, 1, 0, 1])).suspect.any()


@given(st.integers(0, 9), st.integers(2, 6))
def test_the_order_of_the_classes_does_not_matter(seed, classes):
    random = np.random.default_rng(seed)
    probabilities, labels = random.dirichlet(np.ones(classes), 50), random.integers(0, classes, 50)
    order = random.permutation(classes)
    found, other = (
        find_label_errors(probabilities, labels),
        find_label_errors(probabilities[:, order], np.argsort(order)[labels]),
    )
    np.testing.assert_array_equal(found.suspect, other.suspect)
    np.testing.assert_array_equal(found.likelier, order[other.likelier])


@pytest.mark.parametrize(
    ("scores", "precision", "average"),
    [([0.9, 0.8, 0.1, 0.0], 1, 1), ([0.9, 0.1, 0.8, 0.0], 0.5, (1 + 2 / 3) / 2), ([0.1, 0.0, 0.9, 0.8], 0, 5 / 12)],
)
def test_a_ranking_is_judged_by_the_wrong_labels_among_its_first(scores, precision, average):
    wrong = np.array([True, True, False, False])
    assert precision_and_average_precision(np.array(scores), wrong) == pytest.approx((precision, average))
