"""Heads: what they give, their files, and the temperature that calibrates them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.heads import head
from graft.heads.head import Head


def test_a_linear_head_is_a_product_and_a_sum():
    head = head.linear(np.array([[1.0, -1.0], [0.5, 2.0]], np.float32), np.array([0.0, 10.0], np.float32))
    np.testing.assert_array_equal(head.logits(np.array([[2.0, 4.0]], np.float32)), [[4.0, 16.0]])


HIDDEN = (np.array([[1.0, -1.0]], np.float32), np.array([0.0, 1.0], np.float32))
LAST = (np.array([[1.0, 0.0], [10.0, 2.0]], np.float32), np.array([0.5, 0.0], np.float32))


def test_a_hidden_layer_gives_nothing_below_zero():
    head = Head("mlp", (HIDDEN, LAST))
    # 3 gives (3, -2) and so (3, 0); -4 gives (-4, 5) and so (0, 5).
    np.testing.assert_array_equal(head.logits(np.array([[3.0], [-4.0]], np.float32)), [[3.5, 0.0], [50.5, 10.0]])


def test_a_map_is_read_row_by_row():
    head = head.linear(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
    maps = np.arange(4, dtype=np.float32).reshape(1, 2, 1, 2)
    np.testing.assert_array_equal(head.logits(maps), [[0, 1, 2, 3]])


@pytest.mark.parametrize(
    ("pooling", "features"),
    [("avg", [2.5, 0.375]), ("max", [4, 0.75]), ("avg+max", [2.5, 0.375, 4, 0.75]), ("none", [1, 0, 4, 0.75])],
)
def test_a_block_weighs_each_channel_by_the_means_of_all_and_pools_what_comes_out(pooling, features):
    """The second channel's mean, 1.5, becomes log(3) behind the bottleneck: its weight is 1/4, and the first's 3/4."""
    squeeze = (np.array([[0.0], [1.0]], np.float32), np.array([np.log(3) - 1.5], np.float32))
    excite = (np.array([[1.0, -1.0]], np.float32), np.zeros(2, np.float32))
    maps = np.array([[[[4 / 3, 0.0]], [[16 / 3, 3.0]]]], np.float32)
    size = len(features)
    head = Head("se", ((np.eye(size, dtype=np.float32), np.zeros(size, np.float32)),), (squeeze, excite), pooling)
    np.testing.assert_allclose(head.logits(maps), [features], rtol=1e-6)


@pytest.mark.parametrize(
    "head",
    [head.linear(*LAST), Head("mlp", (HIDDEN, LAST)), Head("se", (HIDDEN, LAST), (LAST, HIDDEN), "avg+max")],
    ids=["linear", "mlp", "se"],
)
def test_a_head_comes_back_from_its_file_and_the_file_has_the_same_bytes_each_time(head, tmp_path):
    for name in ("one.npz", "two.npz"):
        head.save(tmp_path / name)
    found = head.read(tmp_path / "one.npz")
    assert (found.kind, found.pooling) == (head.kind, head.pooling)
    for layers, expected in ((found.dense, head.dense), (found.block, head.block)):
        for layer, expected_layer in zip(layers, expected, strict=True):
            for array, expected_array in zip(layer, expected_layer, strict=True):
                np.testing.assert_array_equal(array, expected_array)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_the_file_has_the_same_bytes_under_any_version_of_python(tmp_path):
    """Those of 3.10 to 3.13. What numpy.savez writes is another file before Python 3.11.4 than since."""
    head.linear(*LAST).save(tmp_path / "head.npz")
    digest = hashlib.sha256((tmp_path / "head.npz").read_bytes()).hexdigest()
    assert digest == "e781581d14f287f017dd6f21fd4cc46387d55ebe6a99b2061d707df4828f9d12"


def test_probabilities_are_the_softmax():
    np.testing.assert_allclose(head.probabilities(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])


def test_probabilities_of_huge_logits_are_finite():
    np.testing.assert_allclose(head.probabilities(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_the_temperature_makes_an_overconfident_classifier_as_sure_as_it_is_right():
    labels = np.array([0, 0, 0, 1] * 25)
    logits = np.tile([[8.0, 0.0]], (100, 1))  # sure of class 0, which is right three times in four
    temperature = head.fit_temperature(logits, labels)
    assert head.probabilities(logits / temperature)[0, 0] == pytest.approx(0.75, abs=0.01)


def test_a_few_images_that_are_all_right_do_not_make_it_certain():
    labels = np.array([0, 1] * 5)
    logits = np.where(np.eye(2)[labels], 1.0, -1.0)
    temperature = head.fit_temperature(logits, labels)
    assert 0.9 < head.probabilities(logits / temperature).max() < 0.99


@given(st.integers(1, 4), st.integers(0, 99))
def test_copies_of_a_square_change_no_temperature(copies, seed):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 3, (20, 3)), generator.integers(0, 3, 20)
    squares = np.repeat(logits[:, np.newaxis], copies, axis=1)
    assert head.fit_temperature(squares, labels) == pytest.approx(head.fit_temperature(logits, labels))


def test_squares_that_disagree_are_calibrated_by_the_mean_of_their_probabilities():
    # On each image one square is sure of its class and one of another: their mean is right by half, at any temperature.
    logits = np.tile([[[9.0, 0.0], [0.0, 9.0]]], (40, 1, 1))
    labels = np.arange(40) % 2
    shares = head.probabilities(logits / head.fit_temperature(logits, labels)).mean(axis=1)
    np.testing.assert_allclose(shares, 0.5)
    # Both sure of the same, and right three times out of four: the mean says so.
    logits = np.tile([[[9.0, 0.0], [9.0, 0.0]]], (400, 1, 1))
    labels = (np.arange(400) % 4 == 0).astype(int)
    shares = head.probabilities(logits / head.fit_temperature(logits, labels)).mean(axis=1)
    assert shares[0, 0] == pytest.approx(0.75, abs=0.01)


def test_a_head_at_a_temperature_gives_its_logits_divided_by_it():
    head = head.linear(np.array([[1, 2], [3, 4]], np.float32), np.array([1, -1], np.float32))
    features = np.array([[1, 0], [2, 5]], np.float32)
    np.testing.assert_allclose(head.at_temperature(4.0).logits(features), head.logits(features) / 4)
    deep = Head("mlp", (HIDDEN, LAST))
    np.testing.assert_allclose(deep.at_temperature(4.0).logits(features[:, :1]), deep.logits(features[:, :1]) / 4)
