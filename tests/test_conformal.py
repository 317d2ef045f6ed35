"""Prediction sets: how often they contain the right class, and with how few images they do not exist."""

import numpy as np
import pytest

from graft.scores import conformal
from graft.scores.loss import softmax


def test_the_threshold_is_the_score_of_the_rank_that_the_finite_sample_needs():
    # floor(20 x 0.05) = 1 and floor(100 x 0.05) = 5 from below.
    assert conformal.least_accepted(np.arange(19.0)[::-1], 0.95) == 0.0
    assert conformal.least_accepted(np.arange(99.0), 0.95) == 4.0


@pytest.mark.parametrize(("share", "images"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1), (0.8, 4), (0.999, 999)])
def test_with_fewer_images_than_needed_there_is_no_threshold(share, images):
    assert conformal.images_needed(share) == images
    assert conformal.least_accepted(np.ones(images - 1), share) is None
    assert conformal.least_accepted(np.ones(images), share) == 1.0


def test_the_score_is_the_probability_of_the_images_class():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    assert conformal.least_probability(probabilities, np.array([0, 1, 0]), 0.75) == 0.4


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_of_new_images_contain_the_right_class_as_often_as_wanted(coverage):
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 20_000)
    # Classifiers that are often wrong, and too sure of themselves.
    probabilities = softmax(3 * random.normal(size=(20_000, 5)) + 3 * np.eye(5)[labels])
    found = []
    for start in range(0, 20_000, 200):
        tuning, new = slice(start, start + 50), slice(start + 50, start + 200)
        least = conformal.least_probability(probabilities[tuning], labels[tuning], coverage)
        sets = conformal.prediction_sets(probabilities[new], least)
        found.append(sets[np.arange(150), labels[new]].mean())
    # With 50 images the expectation is at most 1/51 above what is wanted.
    assert coverage - 0.01 < np.mean(found) < coverage + 1 / 51 + 0.01


def test_a_set_holds_every_class_from_the_threshold_on_and_always_the_most_probable_one():
    sets = conformal.prediction_sets(np.array([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8]]), 0.3)
    assert sets.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert conformal.prediction_sets(np.array([[0.5, 0.3, 0.2]]), 0.9).tolist() == [[True, False, False]]


def test_without_a_probability_above_zero_required_all_classes_are_in_the_set():
    assert conformal.prediction_sets(np.array([[0.7, 0.3, 0.0]]), 0.0).all()
