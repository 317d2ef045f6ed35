"""How well images of a class that a head has never seen are refused."""

import numpy as np
import pytest

from graft.heads.feature_file import FeatureFile
from graft.images.table import ImageTable
from graft.scores.known import unit_rows
from graft.serving.left_out import MOST_CLASSES, left_out_figures
from graft.serving.references import centres, nearest, reference_rows, similarities

PER_CLASS = 60


def table_of(classes, per_class=PER_CLASS):
    count = classes * per_class
    random = np.random.default_rng(0)
    return ImageTable(
        tuple(f"class {number:02d}" for number in range(classes)),
        np.array([f"{number}.png" for number in range(count)]),
        np.arange(count) % classes,
        np.array(["train", "train", "train", "validation", "test"])[np.arange(count) // classes % 5],
        np.array([f"{number:064x}" for number in random.permutation(count)]),
        np.arange(count).astype(str),
    )


def feature_file(path, table, distance, shape=(20,)):
    """Features around a centre for each class; the centres are `distance` times as far apart as the images."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(len(table.classes), *shape)) * distance
    values = (centres[table.labels] + random.normal(size=(len(table), *shape))).astype(np.float32)
    np.save(path, values)
    return FeatureFile(path, np.arange(len(table)))


def test_a_class_far_from_the_others_is_refused_and_the_others_are_accepted(tmp_path):
    table = table_of(4)
    found = left_out_figures(table, feature_file(tmp_path / "features.npy", table, 5.0))
    assert found["classes"] == 4
    assert found["auroc"] > 0.98
    assert found["refused"] > 0.9
    assert found["accepted"] > 0.85
    assert found["lowest_auroc"] <= found["auroc"]


def test_features_that_tell_nothing_are_chance(tmp_path):
    table = table_of(4, per_class=300)
    found = left_out_figures(table, feature_file(tmp_path / "features.npy", table, 0.0))
    for name in ("auroc", "auroc_entropy", "auroc_largest_probability", "auroc_similarity"):
        assert found[name] == pytest.approx(0.5, abs=0.06), name
    assert found["refused"] == pytest.approx(0.05, abs=0.05)


def test_feature_maps_count_as_their_means(tmp_path):
    table = table_of(3)
    maps = feature_file(tmp_path / "maps.npy", table, 1.0, (2, 2, 8))
    np.save(tmp_path / "means.npy", np.load(tmp_path / "maps.npy").mean(axis=(1, 2)))
    means = FeatureFile(tmp_path / "means.npy", np.arange(len(table)))
    assert left_out_figures(table, maps) == pytest.approx(left_out_figures(table, means))


def test_of_many_classes_some_are_left_out_in_turn(tmp_path):
    table = table_of(2 * MOST_CLASSES)
    assert left_out_figures(table, feature_file(tmp_path / "features.npy", table, 3.0))["classes"] == MOST_CLASSES


@pytest.mark.parametrize(("classes", "per_class", "features"), [(2, PER_CLASS, 8), (3, 5, 8), (3, PER_CLASS, 5000)])
def test_with_two_classes_few_images_or_very_many_features_there_are_no_figures(tmp_path, classes, per_class, features):
    table = table_of(classes, per_class)
    assert left_out_figures(table, feature_file(tmp_path / "features.npy", table, 3.0, (features,))) is None


def test_the_figures_are_the_same_each_time(tmp_path):
    table = table_of(4)
    features = feature_file(tmp_path / "features.npy", table, 1.0)
    assert left_out_figures(table, features) == left_out_figures(table, features)


def test_the_references_are_spread_over_the_classes_and_chosen_by_hash():
    table = table_of(4)
    rows = reference_rows(table, 10)
    assert sorted(np.bincount(table.labels[rows])) == [2, 2, 3, 3]
    moved = np.random.default_rng(2).permutation(len(table))
    again = reference_rows(table.take(moved), 10)
    assert set(table.sha256[moved][again]) == set(table.sha256[rows])
    assert len(reference_rows(table, 10_000)) == len(table)


def test_the_centres_are_those_of_the_clusters_of_each_class():
    random = np.random.default_rng(0)
    directions = np.eye(8, dtype=np.float32)[[0, 1, 2, 3]]
    rows = np.repeat(directions, 25, axis=0) * random.uniform(1, 9, (100, 1))
    rows = (rows + random.normal(0, 0.01, rows.shape)).astype(np.float32)
    order = random.permutation(100)
    # Classes 0 and 1 have two clusters each.
    found, labels = centres(rows[order], (np.arange(100) // 50)[order], most=12)
    assert labels.tolist() == 6 * [0] + 6 * [1]
    nearest_direction = (found @ directions.T).argmax(axis=1)
    assert (set(nearest_direction[:6]), set(nearest_direction[6:])) == ({0, 1}, {2, 3})
    assert (found @ directions.T).max(axis=1).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_each_class_has_a_centre_its_mean_where_there_is_one_alone():
    rows = np.random.default_rng(0).uniform(0, 1, (40, 5)).astype(np.float32)
    found, labels = centres(rows, np.arange(40) % 20, most=3)
    assert labels.tolist() == list(range(20))
    expected = unit_rows(unit_rows(rows)[[0, 20]].sum(axis=0, keepdims=True))
    np.testing.assert_allclose(found[:1], expected, rtol=1e-5)


def test_images_that_are_all_alike_have_centres_too():
    found, _ = centres(np.ones((9, 4), np.float32), np.zeros(9, int), most=5)
    np.testing.assert_allclose(found, np.full((5, 4), 0.5))
    assert len(centres(np.ones((3, 4), np.float32), np.zeros(3, int), most=5)[1]) == 3


def test_the_similarity_is_the_cosine_to_the_nearest_reference_that_counts():
    references = np.array([[1, 0], [0, 1]], np.float32)
    found = similarities(np.array([[3, 4], [0, 2], [0, 0]], np.float32), references)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(nearest(found), [0.8, 1, 0], atol=1e-6)
    np.testing.assert_allclose(nearest(found, np.array([True, False])), [0.6, 0, 0], atol=1e-6)


def test_references_of_many_images_are_chosen_in_blocks(monkeypatch):
    table = table_of(4)
    expected = reference_rows(table, 50)
    monkeypatch.setattr("graft.serving.references.BLOCK", 17)
    np.testing.assert_array_equal(reference_rows(table, 50), expected)
