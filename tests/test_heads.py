"""Heads: logistic regression on features as they come, the same each time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from stages.parts import heads
from stages.parts.heads import Head


def clusters(classes, images=40, features=6, seed=0, distance=2.0):
    """Draw overlapping clusters on axes of very different scale."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images * classes) % classes
    middles = draw.normal(0, distance, (classes, features))
    scales = 10.0 ** np.linspace(-2, 3, features)
    return ((middles[labels] + draw.normal(0, 1, (len(labels), features)) + 3) * scales).astype(np.float32), labels


def test_a_linear_head_is_a_product_and_a_sum():
    head = heads.linear(np.array([[1.0, -1.0], [0.5, 2.0]], np.float32), np.array([0.0, 10.0], np.float32))
    np.testing.assert_array_equal(head.logits(np.array([[2.0, 4.0]], np.float32)), [[4.0, 16.0]])


HIDDEN = (np.array([[1.0, -1.0]], np.float32), np.array([0.0, 1.0], np.float32))
LAST = (np.array([[1.0, 0.0], [10.0, 2.0]], np.float32), np.array([0.5, 0.0], np.float32))


def test_a_hidden_layer_gives_nothing_below_zero():
    head = Head("mlp", (HIDDEN, LAST))
    # 3 gives (3, -2) and so (3, 0); -4 gives (-4, 5) and so (0, 5).
    np.testing.assert_array_equal(head.logits(np.array([[3.0], [-4.0]], np.float32)), [[3.5, 0.0], [50.5, 10.0]])


def test_a_map_is_read_row_by_row():
    head = heads.linear(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
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
    [heads.linear(*LAST), Head("mlp", (HIDDEN, LAST)), Head("se", (HIDDEN, LAST), (LAST, HIDDEN), "avg+max")],
    ids=["linear", "mlp", "se"],
)
def test_a_head_comes_back_from_its_file_and_the_file_has_the_same_bytes_each_time(head, tmp_path):
    for name in ("one.npz", "two.npz"):
        head.save(tmp_path / name)
    found = heads.read(tmp_path / "one.npz")
    assert (found.kind, found.pooling) == (head.kind, head.pooling)
    for layers, expected in ((found.dense, head.dense), (found.block, head.block)):
        for layer, expected_layer in zip(layers, expected, strict=True):
            for array, expected_array in zip(layer, expected_layer, strict=True):
                np.testing.assert_array_equal(array, expected_array)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_probabilities_are_the_softmax():
    np.testing.assert_allclose(heads.probabilities(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])


def test_probabilities_of_huge_logits_are_finite():
    np.testing.assert_allclose(heads.probabilities(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_the_folded_standardiser_equals_the_explicit_one(classes, strength):
    features, labels = clusters(classes)
    head = heads.fit_linear(features, labels, classes, strength)
    standardised = StandardScaler().fit_transform(features)
    explicit = LogisticRegression(C=strength, tol=heads.TOLERANCE).fit(standardised, labels)
    found = heads.probabilities(head.logits(features))
    np.testing.assert_allclose(found, explicit.predict_proba(standardised), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_has_a_column_for_each_class_in_float32(classes):
    head = heads.fit_linear(*clusters(classes), classes, 1.0)
    ((kernel, bias),) = head.dense
    assert (kernel.shape, kernel.dtype) == ((6, classes), np.float32)
    assert (bias.shape, bias.dtype) == ((classes,), np.float32)


@pytest.mark.parametrize("classes", [2, 4])
def test_clusters_that_are_far_apart_are_told_apart(classes):
    features, labels = clusters(classes, distance=20)
    head = heads.fit_linear(features, labels, classes, 1.0)
    np.testing.assert_array_equal(head.logits(features).argmax(axis=1), labels)


def test_the_same_features_give_the_same_bytes():
    features, labels = clusters(3)
    first, again = (heads.fit_linear(features.copy(), labels, 3, 0.1).dense[0] for _ in range(2))
    assert [array.tobytes() for array in first] == [array.tobytes() for array in again]


def test_the_features_are_left_as_they_are():
    features, labels = clusters(3)
    before = features.copy()
    heads.fit_linear(features, labels, 3, 0.1)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 3700.0, -12.7])
def test_a_feature_that_never_changes_has_no_weight(value):
    features, labels = clusters(3, images=600)
    head = heads.fit_linear(np.column_stack([features, np.full(len(features), value, np.float32)]), labels, 3, 1.0)
    np.testing.assert_array_equal(head.dense[0][0][-1], 0)


def test_a_feature_that_differs_in_its_last_bit_alone_has_no_weight():
    features, labels = clusters(3)
    value = np.float32(0.1)
    rounded = np.where(labels == 0, np.nextafter(value, np.float32(1)), value)
    head = heads.fit_linear(np.column_stack([features, rounded]), labels, 3, 1.0)
    np.testing.assert_allclose(head.dense[0][0][-1], 0, atol=1e-3)


def test_a_stronger_penalty_gives_less_certain_probabilities():
    features, labels = clusters(3)
    certainty = [
        heads.probabilities(heads.fit_linear(features, labels, 3, strength).logits(features)).max(axis=1).mean()
        for strength in (1e-4, 1e-2, 1.0)
    ]
    assert certainty == sorted(certainty)


def test_noise_asks_for_a_stronger_penalty_than_clear_differences():
    noise = np.random.default_rng(0).normal(size=(120, 20)).astype(np.float32)
    features, labels = clusters(3, distance=20)
    assert heads.choose_strength(noise, labels, 3, seed=0) < heads.choose_strength(features, labels, 3, seed=0)


def test_the_strength_is_one_of_those_tried_and_the_same_each_time():
    features, labels = clusters(3, distance=0.5)
    chosen = {heads.choose_strength(features, labels, 3, seed=1) for _ in range(3)}
    assert len(chosen) == 1
    assert chosen < set(heads.STRENGTHS)


@pytest.mark.parametrize("images", [2, 3])
def test_few_images_of_a_class_make_fewer_folds(images):
    features, labels = clusters(3)
    keep = np.flatnonzero(labels != 2)[:60].tolist() + np.flatnonzero(labels == 2)[:images].tolist()
    assert heads.choose_strength(features[keep], labels[keep], 3, seed=0) in heads.STRENGTHS


def test_a_class_with_a_single_image_leaves_the_default_strength():
    features, labels = clusters(3)
    keep = np.flatnonzero(labels != 2).tolist() + np.flatnonzero(labels == 2)[:1].tolist()
    assert heads.choose_strength(features[keep], labels[keep], 3, seed=0) == heads.DEFAULT_STRENGTH


def test_the_temperature_makes_an_overconfident_classifier_as_sure_as_it_is_right():
    labels = np.array([0, 0, 0, 1] * 25)
    logits = np.tile([[8.0, 0.0]], (100, 1))  # sure of class 0, which is right three times in four
    temperature = heads.fit_temperature(logits, labels)
    assert heads.probabilities(logits / temperature)[0, 0] == pytest.approx(0.75, abs=0.01)


def test_a_few_images_that_are_all_right_do_not_make_it_certain():
    labels = np.array([0, 1] * 5)
    logits = np.where(np.eye(2)[labels], 1.0, -1.0)
    temperature = heads.fit_temperature(logits, labels)
    assert 0.9 < heads.probabilities(logits / temperature).max() < 0.99


@given(st.integers(1, 4), st.integers(0, 99))
def test_copies_of_a_square_change_no_temperature(copies, seed):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 3, (20, 3)), generator.integers(0, 3, 20)
    squares = np.repeat(logits[:, np.newaxis], copies, axis=1)
    assert heads.fit_temperature(squares, labels) == pytest.approx(heads.fit_temperature(logits, labels))


def test_squares_that_disagree_are_calibrated_by_the_mean_of_their_probabilities():
    # On each image one square is sure of its class and one of another: their mean is right by half, at any temperature.
    logits = np.tile([[[9.0, 0.0], [0.0, 9.0]]], (40, 1, 1))
    labels = np.arange(40) % 2
    shares = heads.probabilities(logits / heads.fit_temperature(logits, labels)).mean(axis=1)
    np.testing.assert_allclose(shares, 0.5)
    # Both sure of the same, and right three times out of four: the mean says so.
    logits = np.tile([[[9.0, 0.0], [9.0, 0.0]]], (400, 1, 1))
    labels = (np.arange(400) % 4 == 0).astype(int)
    shares = heads.probabilities(logits / heads.fit_temperature(logits, labels)).mean(axis=1)
    assert shares[0, 0] == pytest.approx(0.75, abs=0.01)


def test_a_head_at_a_temperature_gives_its_logits_divided_by_it():
    head = heads.linear(np.array([[1, 2], [3, 4]], np.float32), np.array([1, -1], np.float32))
    features = np.array([[1, 0], [2, 5]], np.float32)
    np.testing.assert_allclose(head.at_temperature(4.0).logits(features), head.logits(features) / 4)
    deep = Head("mlp", (HIDDEN, LAST))
    np.testing.assert_allclose(deep.at_temperature(4.0).logits(features[:, :1]), deep.logits(features[:, :1]) / 4)


def test_cross_validation_gives_the_same_bits_each_time():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 300)).astype(np.float32)
    labels = (features[:, :4] + draw.normal(size=(400, 4))).argmax(axis=1)
    losses = {heads.held_out_losses(features, labels, 4, 0).tobytes() for _ in range(5)}
    assert len(losses) == 1
