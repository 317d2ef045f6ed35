"""Out-of-fold LDA: an image is judged by a classifier that saw neither it nor its copies."""

import numpy as np
import pytest
from scipy.special import softmax

from graft.heads import out_of_fold as module
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import grouped_folds
from graft.heads.lda import fit_lda, sums
from graft.heads.out_of_fold import out_of_fold
from graft.scores.calibration import fit_temperature
from graft.scores.label_errors import find_label_errors, precision_and_average_precision

CLASSES = 3


@pytest.fixture
def images():
    """Features of 120 images in three classes, their labels, and a group for each."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % CLASSES
    features = random.normal(0, 1, (120, 20)) + 4 * np.eye(20)[labels]
    return features.astype(np.float32), labels, np.arange(120)


def test_the_probabilities_are_those_of_lda_fitted_to_the_other_folds(images):
    features, labels, groups = images
    logits = np.empty((120, CLASSES))
    for fold in grouped_folds(labels, groups, 0, 5):
        training = sums([(features[fold.train], labels[fold.train])], CLASSES, features[0])
        kernel, bias = fit_lda(training, features[0])
        logits[fold.held_out] = features[fold.held_out] @ kernel + bias
    expected = softmax(logits / fit_temperature(logits, labels), axis=1)
    found = out_of_fold(features, labels, groups, CLASSES, folds=5)
    np.testing.assert_array_equal(found.images, np.arange(120))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


def test_planted_wrong_labels_come_first(images):
    features, labels, groups = images
    planted = labels.copy()
    planted[[3, 50, 71]] = (labels[[3, 50, 71]] + 1) % CLASSES
    found = out_of_fold(features, planted, groups, CLASSES)
    errors = find_label_errors(found.probabilities, planted)
    assert set(np.argsort(-errors.scores)[:3]) == {3, 50, 71}
    suspects = set(np.flatnonzero(errors.suspect))
    assert suspects
    assert suspects <= {3, 50, 71}
    assert precision_and_average_precision(errors.scores, planted != labels) == (1, 1)


def test_a_wrong_label_is_found_beside_a_copy_with_the_same_wrong_label(images):
    features, labels, groups = images
    # With 20 copies outside of the fold, the classifier would have learnt the wrong label.
    features = np.concatenate([features, np.repeat(features[:1], 20, axis=0)])
    labels = np.append(labels, np.ones(20, int))
    labels[0] = 1
    groups = np.append(groups, np.zeros(20, int))
    found = out_of_fold(features, labels, groups, CLASSES)
    assert find_label_errors(found.probabilities, labels).suspect[[0, *range(120, 140)]].all()


def test_an_image_of_nothing_known_is_far_from_all_classes(images):
    features, labels, groups = images
    features[40] = 30
    found = out_of_fold(features, labels, groups, CLASSES)
    assert found.distances.argmax() == 40
    assert found.distances[40] > 3 * np.delete(found.distances, 40).max()


def test_a_class_with_a_single_picture_is_not_judged(images):
    features, labels, groups = images
    labels = labels.copy()
    labels[5] = CLASSES
    found = out_of_fold(features, labels, groups, CLASSES + 1)
    np.testing.assert_array_equal(found.images, np.delete(np.arange(120), 5))


def test_where_no_image_can_be_held_out_none_is_judged(images):
    found = out_of_fold(images[0][:3], images[1][:3], images[2][:3], CLASSES)
    assert (len(found.images), found.probabilities.shape, found.distances.shape) == (0, (0, CLASSES), (0,))


def test_maps_are_averaged(images):
    features, labels, groups = images
    maps = np.stack([features - 1, features + 1], axis=1)[:, :, np.newaxis]
    expected = out_of_fold(features, labels, groups, CLASSES)
    np.testing.assert_allclose(
        out_of_fold(maps, labels, groups, CLASSES).probabilities, expected.probabilities, atol=1e-4
    )


def test_too_many_features_are_projected_to_fewer(images, monkeypatch):
    features, labels, groups = images
    monkeypatch.setattr(module, "MOST_FEATURES", 15)
    found = out_of_fold(features, labels, groups, CLASSES)
    assert (found.probabilities.argmax(axis=1) == labels).mean() > 0.8


def test_features_that_never_change_say_nothing_but_how_frequent_the_classes_are(images):
    _, labels, groups = images
    found = out_of_fold(np.ones((120, 4), np.float32), labels, groups, CLASSES)
    np.testing.assert_allclose(found.probabilities, 1 / 3, atol=0.02)
    assert not found.distances.any()


def test_a_file_gives_the_same_bits_as_an_array_and_again(images, tmp_path):
    features, labels, groups = images
    np.save(tmp_path / "features.npy", features)
    of_file = out_of_fold(FeatureFile(tmp_path / "features.npy", np.arange(120)), labels, groups, CLASSES)
    for first, second in zip(of_file, out_of_fold(features, labels, groups, CLASSES), strict=True):
        np.testing.assert_array_equal(first, second)
