"""The score of how well an image is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from graft.scores import known


def test_the_auroc_is_that_of_scikit_learn_also_with_equal_scores():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 9, 200) / 4, random.integers(0, 6, 90) / 4
    truth = np.repeat([1, 0], [200, 90])
    assert known.auroc(first, second) == pytest.approx(roc_auc_score(truth, np.concatenate([first, second])))


def test_the_auroc_is_one_where_all_known_images_score_higher_and_a_half_where_all_are_equal():
    assert known.auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert known.auroc(np.array([0.0]), np.array([1.0])) == 0
    assert known.auroc(np.ones(4), np.ones(3)) == 0.5


def test_entropy_is_zero_where_the_classifier_is_sure_and_largest_where_all_classes_are_equal():
    found = known.entropy(np.array([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    np.testing.assert_allclose(found, [0, np.log(4)], atol=1e-9)


def test_a_row_of_zeros_has_no_direction_and_stays():
    np.testing.assert_allclose(known.unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


def test_maps_are_averaged_over_their_places_and_features_stay():
    maps = np.arange(24.0).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(known.averaged(maps), maps.reshape(6, 4).mean(axis=0)[np.newaxis])
    features = np.ones((2, 5))
    assert known.averaged(features) is features


def test_the_score_accepts_the_wanted_share_of_the_images_that_it_is_fitted_to():
    random = np.random.default_rng(0)
    similarity, entropy = random.uniform(0.5, 1, 999), random.exponential(0.1, 999)
    score = known.fit_known_score(similarity, entropy)
    assert (score(similarity, entropy) >= 0).mean() == pytest.approx(known.ACCEPTED, abs=0.002)


def test_an_image_is_less_known_if_it_is_less_similar_or_its_class_less_clear():
    random = np.random.default_rng(0)
    score = known.fit_known_score(random.uniform(0.5, 1, 100), random.uniform(0, 1, 100))
    assert score(0.9, 0.1) > score(0.8, 0.1) > score(0.8, 0.2)
    # In units of their standard deviations, both count alike.
    assert score.similarity / score.entropy == pytest.approx(2, rel=0.2)


def test_with_few_images_there_is_no_score():
    assert known.fit_known_score(np.ones(18), np.zeros(18)) is None
    assert known.fit_known_score(np.ones(19), np.zeros(19)) is not None


def test_where_all_images_are_alike_the_same_image_is_accepted_and_another_is_not():
    score = known.fit_known_score(np.full(20, 0.75), np.zeros(20))
    assert score(0.75, 0.0) >= 0
    assert score(0.5, 0.0) < 0


def test_the_share_of_unknown_images_below_zero_is_refused():
    found = known.known_figures(np.array([1.0, 2.0, -0.5]), np.array([-1.0, 0.5]))
    assert found == {"auroc": pytest.approx(5 / 6), "refused": 0.5, "images": 2}
