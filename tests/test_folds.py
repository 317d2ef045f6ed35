"""Cross-validation folds: copies stay together, and every class can be learnt in each fold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from graft.heads.folds import FOLDS, grouped_folds


@st.composite
def images(draw):
    """Draw the labels and groups of some images; each label occurs, and a group may have several labels."""
    classes, count = draw(st.integers(2, 5)), draw(st.integers(5, 40))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    labels[:classes] = range(classes)
    groups = draw(st.lists(st.integers(0, draw(st.integers(0, 30))), min_size=count, max_size=count))
    return np.array(labels), np.array([f"{group:06x}" for group in groups])


@given(images(), st.integers(0, 9))
@pytest.mark.filterwarnings("error")
def test_every_fold_has_groups_on_one_side_and_every_class_in_training(case, seed):
    labels, groups = case
    seen = []
    for fold in grouped_folds(labels, groups, seed):
        assert set(groups[fold.train]).isdisjoint(groups[fold.held_out])
        assert set(labels[fold.train]) == set(labels)
        np.testing.assert_array_equal(np.sort(np.concatenate(fold)), np.arange(len(labels)))
        assert len(fold.held_out)
        seen.extend(fold.held_out)
    assert len(seen) == len(set(seen))


@given(st.lists(st.integers(4, 20), min_size=2, max_size=5), st.integers(1, 3), st.integers(0, 9))
def test_the_groups_of_each_class_are_spread_evenly_and_each_is_held_out_once(groups_of_class, copies, seed):
    labels = np.arange(len(groups_of_class)).repeat(groups_of_class).repeat(copies)
    groups = np.arange(len(labels)) // copies
    folds = grouped_folds(labels, groups, seed)
    assert len(folds) == FOLDS
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.held_out for fold in folds])), np.arange(len(labels)))
    counts = np.array([np.bincount(labels[fold.held_out], minlength=len(groups_of_class)) for fold in folds])
    assert (np.ptp(counts, axis=0) <= copies).all()


def test_without_copies_the_folds_are_those_of_scikit_learn():
    labels = np.random.default_rng(0).integers(0, 3, 60)
    expected = StratifiedKFold(FOLDS, shuffle=True, random_state=5).split(labels, labels)
    for fold, (train, held_out) in zip(grouped_folds(labels, np.arange(60), 5), expected, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.held_out, held_out)


@given(images(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(case, random):
    labels, groups = case
    order = np.array(random.sample(range(len(labels)), len(labels)))
    folds, others = grouped_folds(labels, groups, 0), grouped_folds(labels[order], groups[order], 0)
    assert len(folds) == len(others)
    for fold, other in zip(folds, others, strict=True):
        assert set(fold.held_out) == set(order[other.held_out])


@pytest.mark.parametrize(("fewest", "folds"), [(2, 2), (3, 3), (9, FOLDS)])
def test_a_class_of_few_groups_makes_fewer_folds(fewest, folds):
    labels = np.array([0] * 20 + [1] * fewest)
    assert len(grouped_folds(labels, np.arange(len(labels)), 0)) == folds


def test_a_class_of_one_group_is_never_held_out_and_makes_no_fewer_folds():
    labels = np.array([0] * 20 + [1] * 3 + [2] * 20)
    groups = np.where(labels == 1, 99, np.arange(43))
    folds = grouped_folds(labels, groups, 0)
    assert len(folds) == FOLDS
    held_out = np.concatenate([fold.held_out for fold in folds])
    np.testing.assert_array_equal(np.sort(held_out), np.flatnonzero(labels != 1))


def test_where_each_class_is_one_group_nothing_can_be_held_out():
    assert grouped_folds(np.array([0, 0, 0, 1, 1]), np.array(["a", "a", "a", "b", "b"]), 0) == []
    assert grouped_folds(np.array([0, 1, 0, 1]), np.array(["a"] * 4), 0) == []
