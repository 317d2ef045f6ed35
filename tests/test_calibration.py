"""Calibration: the error of a classifier's confidence, and the temperature that corrects it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.scores.calibration import expected_calibration_error, fit_temperature
from graft.scores.loss import softmax


def test_perfect_calibration_has_no_error():
    # Of ten images at 0.6, six are right.
    probabilities = np.tile([0.6, 0.4], (10, 1))
    labels = np.array([0] * 6 + [1] * 4)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0, abs=1e-12)


def test_errors_in_different_bins_do_not_cancel():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    # The sure one is wrong (0.9 too high), the unsure one right (0.4 too low).
    assert expected_calibration_error(probabilities, np.array([1, 0])) == pytest.approx((0.9 + 0.4) / 2)


def test_errors_within_a_bin_do_cancel():
    probabilities = np.array([[0.61, 0.39], [0.65, 0.35]])
    assert expected_calibration_error(probabilities, np.array([0, 1])) == pytest.approx(abs(0.63 - 0.5))


def test_full_confidence_is_in_the_last_bin():
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_full_confidence_shares_the_last_bin_and_no_other():
    probabilities = np.array([[1.0, 0.0], [0.95, 0.05]])
    assert expected_calibration_error(probabilities, np.array([1, 0])) == pytest.approx((1 - 0.05) / 2)
    # 14 / 15 is between these two.
    probabilities = np.array([[0.92, 0.08], [0.95, 0.05]])
    assert expected_calibration_error(probabilities, np.array([1, 0])) == pytest.approx((0.92 + 0.05) / 2)


def test_the_temperature_makes_an_overconfident_classifier_as_sure_as_it_is_right():
    labels = np.array([0, 0, 0, 1] * 25)
    logits = np.tile([[8.0, 0.0]], (100, 1))  # sure of class 0, which is right three times in four
    temperature = fit_temperature(logits, labels)
    assert softmax(logits / temperature)[0, 0] == pytest.approx(0.75, abs=0.01)


def test_a_few_images_that_are_all_right_do_not_make_it_certain():
    labels = np.array([0, 1] * 5)
    logits = np.where(np.eye(2)[labels], 1.0, -1.0)
    temperature = fit_temperature(logits, labels)
    # The label has the share 1 - s + s / 2 of the smoothed labels, s = 1 / (10 + 1); so has the best probability.
    assert softmax(logits / temperature).max() == pytest.approx(1 - 1 / 22, abs=1e-3)


def test_the_temperature_is_from_a_hundredth_to_a_hundred():
    labels = np.zeros(100, int)
    always_wrong, always_right = np.tile([[-1.0, 1.0]], (100, 1)), np.tile([[0.001, -0.001]], (100, 1))
    assert 99 < fit_temperature(always_wrong, labels) <= 100
    assert 0.01 <= fit_temperature(always_right, labels) < 0.0101


@given(st.integers(1, 4), st.integers(0, 99))
def test_copies_of_a_crop_change_no_temperature(copies, seed):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 3, (20, 3)), generator.integers(0, 3, 20)
    crops = np.repeat(logits[:, np.newaxis], copies, axis=1)
    assert fit_temperature(crops, labels) == pytest.approx(fit_temperature(logits, labels))


def test_crops_that_disagree_are_calibrated_by_the_mean_of_their_probabilities():
    # On each image one crop is sure of its class and one of another: their mean is right by half, at any temperature.
    logits = np.tile([[[9.0, 0.0], [0.0, 9.0]]], (40, 1, 1))
    labels = np.arange(40) % 2
    shares = softmax(logits / fit_temperature(logits, labels)).mean(axis=1)
    np.testing.assert_allclose(shares, 0.5)
    # Both sure of the same, and right three times out of four: the mean says so.
    logits = np.tile([[[9.0, 0.0], [9.0, 0.0]]], (400, 1, 1))
    labels = (np.arange(400) % 4 == 0).astype(int)
    shares = softmax(logits / fit_temperature(logits, labels)).mean(axis=1)
    assert shares[0, 0] == pytest.approx(0.75, abs=0.01)
