"""Cutting a network where one tensor crosses: the two halves, and which layers are trained."""

import keras
import numpy as np
import pytest

from graft.backbone.build import build
from graft.backbone.cut import cut, cut_points, resolve_layer, trained_layers
from graft.core.errors import GraftError


def residual_network():
    """Two layers, a residual block and a convolution."""
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(images)
    x = shortcut = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="inner")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Add(name="add")([x, shortcut])
    return keras.Model(images, keras.layers.Conv2D(2, 1, name="last")(x), name="residual")


@pytest.mark.parametrize(
    ("from_layer", "index"),
    [("inner", 3), (3, 3), (0, 0), (7, 7), (-1, 6), (-7, 0), (0.0, 0), (0.5, 4), (1.0, 7), ("images", 0)],
)
def test_a_layer_is_given_by_name_index_or_fraction(from_layer, index):
    assert resolve_layer(residual_network(), from_layer) == index


@pytest.mark.parametrize(
    ("from_layer", "message"),
    [
        ("iner", "fine_tune.from_layer: residual has no layer 'iner'; did you mean 'inner'"),
        ("zzzz", "fine_tune.from_layer: residual has no layer 'zzzz'; its layers are images to last"),
        (8, "fine_tune.from_layer: residual has no layer 8; its layers are 0 to 6"),
        (-8, "has no layer -8"),
        (1.5, "fine_tune.from_layer: 1.5 is no fraction"),
        (float("nan"), "fine_tune.from_layer: nan is no fraction"),
    ],
)
def test_a_layer_that_does_not_exist_is_refused_with_the_nearest_names_or_the_range(from_layer, message):
    with pytest.raises(GraftError, match=message):
        resolve_layer(residual_network(), from_layer)


def test_the_places_where_one_tensor_crosses_leave_out_the_inside_of_a_residual_block():
    points = cut_points(residual_network())
    assert [point.after for point in points] == ["images", "first", "relu", "add", "last"]
    assert [point.index for point in points] == [1, 2, 3, 6, 7]
    assert points[2].shape == (8, 8, 4)


@pytest.mark.parametrize(
    ("from_layer", "after", "frozen", "trainable"),
    [
        (0, "images", (), ("first", "relu", "inner", "norm", "add", "last")),
        ("first", "images", (), ("first", "relu", "inner", "norm", "add", "last")),
        ("inner", "relu", (), ("inner", "norm", "add", "last")),
        ("add", "relu", ("inner", "norm"), ("add", "last")),
        ("last", "add", (), ("last",)),
        (1.0, "last", (), ()),
    ],
)
def test_the_cut_is_the_last_place_at_or_before_the_layer(from_layer, after, frozen, trainable):
    found = cut(residual_network(), from_layer)
    assert found.point.after == after
    assert found.frozen == frozen
    assert found.trainable == trainable


def test_the_index_of_the_first_trained_layer_gives_the_same_cut_at_another_image_size():
    # At 224 the smallest map is after block 9; at 32, where maps are 2 by 2, it may be another.
    found = cut(build("MobileNetV2", 224, "none"), 0.6)
    again = cut(build("MobileNetV2", 32, "none"), found.first_trained)
    assert (again.point.index, again.point.after) == (found.point.index, found.point.after)
    assert (again.trainable, again.frozen) == (found.trainable, found.frozen)


@pytest.mark.parametrize("from_layer", [0, "first", "inner", "add", "last", 1.0])
def test_the_first_trained_layer_gives_the_same_cut_as_the_layer_that_was_named(from_layer):
    found = cut(residual_network(), from_layer)
    again = cut(residual_network(), found.first_trained)
    assert (again.point, again.frozen, again.trainable) == (found.point, found.frozen, found.trainable)


@pytest.mark.parametrize(
    ("to_layer", "frozen", "trainable"),
    [
        ("add", ("add", "last"), ("inner", "norm")),
        (4, ("norm", "add", "last"), ("inner",)),
        (1.0, (), ("inner", "norm", "add", "last")),
    ],
)
def test_training_can_end_before_the_last_layer(to_layer, frozen, trainable):
    found = cut(residual_network(), "inner", to_layer)
    assert (found.point.after, found.frozen, found.trainable) == ("relu", frozen, trainable)


@pytest.mark.parametrize(
    ("to_layer", "message"),
    [
        ("iner", "fine_tune.to_layer: residual has no layer 'iner'; did you mean 'inner'"),
        (
            "relu",
            "fine_tune.to_layer: relu is layer 2 of residual, not after from_layer, which is layer 3; give 4",
        ),
        (3, "fine_tune.to_layer: 3 is layer 3 of residual, not after"),
    ],
)
def test_training_ends_after_it_begins(to_layer, message):
    with pytest.raises(GraftError, match=message):
        trained_layers(residual_network(), "inner", to_layer)


def test_a_cut_at_either_end_leaves_the_identity():
    model = residual_network()
    images = np.ones((2, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(cut(model, 0).trunk(images), images)
    last = np.ones((2, 8, 8, 2), np.float32)
    np.testing.assert_array_equal(cut(model, 1.0).top(last), last)


def test_a_fraction_is_cut_at_the_smallest_map_down_to_that_depth_and_all_layers_above_are_trained():
    model = build("MobileNetV2", 96, "none")
    found = cut(model, 0.6)  # layer 92 is within block 10, where the map has six times the channels
    assert found.point.after == "block_9_add"
    assert found.frozen == ()
    assert found.trainable[0] == "block_10_expand"


def test_a_fraction_is_not_cut_at_the_image_even_if_no_map_is_smaller():
    x = images = keras.Input((8, 8, 1))
    for filters in (4, 3, 3, 3, 4):
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    found = cut(keras.Model(images, x), 0.99)
    assert (found.point.index, found.point.shape) == (5, (8, 8, 3))


def test_the_halves_share_the_weights_of_the_whole():
    model = residual_network()
    top = cut(model, "inner").top
    top.get_layer("last").set_weights([np.zeros((1, 1, 4, 2)), np.array([3.0, 4.0])])
    assert np.asarray(model(np.ones((1, 8, 8, 3))))[0, 0, 0].tolist() == [3, 4]


def test_from_layer_100_of_mobilenet_v2_is_cut_before_layer_98():
    found = cut(build("MobileNetV2", 224, "none"), 100)
    assert (found.point.index, found.point.shape) == (98, (14, 14, 96))
    assert found.frozen == ("block_11_expand", "block_11_expand_BN")
    assert found.trainable[0] == "block_11_expand_relu"
