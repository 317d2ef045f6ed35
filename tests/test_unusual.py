"""Unusual numbers: the modified z-score of Iglewicz and Hoaglin."""

import numpy as np

from graft.scores.unusual import MOST, modified_z_scores


def test_the_score_is_the_distance_from_the_median_in_median_absolute_deviations():
    np.testing.assert_allclose(
        modified_z_scores(np.array([1.0, 2.0, 3.0, 4.0, 9.0])), 0.6745 * np.array([-2, -1, 0, 1, 6])
    )


def test_of_normal_numbers_hardly_any_is_unusual_and_a_few_far_ones_do_not_hide_each_other():
    values = np.random.default_rng(0).normal(5, 2, 1000)
    assert (np.abs(modified_z_scores(values)) > MOST).sum() <= 2
    far = np.append(values, [25.0] * 100)
    assert (modified_z_scores(far)[-100:] > MOST).all()


def test_where_most_numbers_are_equal_each_other_one_is_infinitely_unusual():
    assert modified_z_scores(np.array([2.0, 2.0, 2.0, 5.0, 1.0])).tolist() == [0, 0, 0, np.inf, -np.inf]


def test_a_single_number_is_usual():
    assert modified_z_scores(np.array([7.0])).tolist() == [0]
