"""Heads: their logits, and their files."""

import hashlib

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.heads.head import Head, linear, read_head


def test_a_linear_head_is_a_product_and_a_sum():
    head = linear(np.array([[1.0, -1.0], [0.5, 2.0]], np.float32), np.array([0.0, 10.0], np.float32))
    np.testing.assert_array_equal(head.logits(np.array([[2.0, 4.0]], np.float32)), [[4.0, 16.0]])


HIDDEN = (np.array([[1.0, -1.0]], np.float32), np.array([0.0, 1.0], np.float32))
CLASSES = ("daisy", "雏菊")
LAST = (np.array([[1.0, 0.0], [10.0, 2.0]], np.float32), np.array([0.5, 0.0], np.float32))


def test_a_hidden_layer_gives_nothing_below_zero():
    head = Head("mlp", (HIDDEN, LAST))
    # 3 gives (3, -2) and so (3, 0); -4 gives (-4, 5) and so (0, 5).
    np.testing.assert_array_equal(head.logits(np.array([[3.0], [-4.0]], np.float32)), [[3.5, 0.0], [50.5, 10.0]])


def test_a_map_is_read_row_by_row():
    head = linear(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
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
    [linear(*LAST), Head("mlp", (HIDDEN, LAST)), Head("se", (HIDDEN, LAST), (LAST, HIDDEN), "avg+max")],
    ids=["linear", "mlp", "se"],
)
def test_a_head_comes_back_from_its_file_and_the_file_has_the_same_bytes_each_time(head, tmp_path):
    for name in ("one.npz", "two.npz"):
        head.save(tmp_path / name, CLASSES)
    found, classes = read_head(tmp_path / "one.npz")
    assert (found.kind, found.pooling, classes) == (head.kind, head.pooling, CLASSES)
    for layers, expected in ((found.dense, head.dense), (found.block, head.block)):
        for layer, expected_layer in zip(layers, expected, strict=True):
            for array, expected_array in zip(layer, expected_layer, strict=True):
                np.testing.assert_array_equal(array, expected_array)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_the_file_has_the_same_bytes_under_any_version_of_python(tmp_path):
    """Those of 3.10 to 3.13. What numpy.savez writes is another file before Python 3.11.4 than since."""
    linear(*LAST).save(tmp_path / "head.npz", CLASSES)
    digest = hashlib.sha256((tmp_path / "head.npz").read_bytes()).hexdigest()
    assert digest == "59c98fcd132ff8b453ca382e43c9a54c0b593d84818a18fed5b33dfa23d4ed58"


def test_a_head_that_is_not_there_is_a_mistake_with_the_command_that_writes_it(tmp_path):
    with pytest.raises(GraftError, match=r"head\.npz: no such file; `dvc repro` writes it"):
        read_head(tmp_path / "head.npz")


def test_a_head_at_a_temperature_gives_its_logits_divided_by_it():
    head = linear(np.array([[1, 2], [3, 4]], np.float32), np.array([1, -1], np.float32))
    features = np.array([[1, 0], [2, 5]], np.float32)
    np.testing.assert_allclose(head.at_temperature(4.0).logits(features), head.logits(features) / 4)
    deep = Head("mlp", (HIDDEN, LAST))
    np.testing.assert_allclose(deep.at_temperature(4.0).logits(features[:, :1]), deep.logits(features[:, :1]) / 4)
