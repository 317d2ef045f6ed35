"""Logistic regression in blocks: the weights that scikit-learn finds with all rows in memory."""

import numpy as np
import pytest

from graft.heads import linear
from graft.heads.linear import Examples, Hyperparameters
from graft.heads.train import some_images
from graft.scores.loss import cross_entropy, softmax


def examples(classes, images=400, size=20, views=None):
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, images - classes)])
    centres = random.normal(0, 1, (classes, size))
    rows = centres[labels][:, np.newaxis] + random.normal(0, 2, (images, 1 + (views or 0), size))
    rows = (rows * np.linspace(0.1, 3, size) + 5).astype(np.float32)
    return Examples(rows[:, 0], labels, classes, rows[:, 1:] if views else None)


def losses(heads, given):
    return [cross_entropy(softmax(head.logits(given.features)), given.labels) for head in heads]


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
def test_the_weights_are_those_of_the_fit_in_memory(classes, C, monkeypatch):
    given = examples(classes)
    in_memory = linear.fit(given, Hyperparameters(C))
    monkeypatch.setattr(linear, "BLOCK_BYTES", 2000)
    streamed = linear.fit(given, Hyperparameters(C), in_memory=False)
    for found, expected in zip(streamed.dense[0], in_memory.dense[0], strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(in_memory.dense[0][0]).max())
    assert np.diff(losses([in_memory, streamed], given)) == pytest.approx(0, abs=1e-4)


def test_views_are_rows_that_count_for_less(monkeypatch):
    given = examples(4, views=3)
    monkeypatch.setattr(linear, "BLOCK_BYTES", 4000)
    heads = [linear.fit(given, Hyperparameters(0.01, 0.5, (1.0, 1.2)), in_memory) for in_memory in (True, False)]
    np.testing.assert_allclose(heads[1].dense[0][0], heads[0].dense[0][0], atol=1e-3)


def test_the_bits_depend_on_nothing_but_the_rows(monkeypatch):
    given = examples(3)
    monkeypatch.setattr(linear, "BLOCK_BYTES", 3000)
    heads = []
    for cpus in (1, 4):
        monkeypatch.setattr("graft.core.threads.usable_cpus", lambda cpus=cpus: cpus)
        heads.append(linear.fit(given, Hyperparameters(0.1), in_memory=False).dense[0][0])
    np.testing.assert_array_equal(*heads)


def test_features_that_never_change_give_a_head_of_equal_weights():
    given = Examples(np.ones((30, 4), np.float32), np.arange(30) % 3, 3)
    kernel, _ = linear.fit(given, Hyperparameters(1.0), in_memory=False).dense[0]
    np.testing.assert_allclose(kernel, 0, atol=1e-6)


def test_of_the_images_to_choose_by_each_class_has_some():
    labels = np.repeat([0, 1, 2], [1000, 1000, 5])
    chosen = some_images(labels, 100, 0)
    assert np.bincount(labels[chosen]).tolist()[2] >= 4
    assert 100 <= len(chosen) <= 104
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, some_images(labels, 100, 0))
    assert not np.array_equal(chosen, some_images(labels, 100, 1))
