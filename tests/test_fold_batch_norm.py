"""Folding BatchNorms: fewer layers, the same function."""

import keras
import numpy as np
import pytest

from graft.backbone.build import build
from graft.backbone.cut import cut
from graft.backbone.fold_batch_norm import fold_batch_norms
from graft.settings import backbone_table


def scatter_statistics(model):
    """Set every BatchNorm to random statistics and weights: at first it changes nothing."""
    generator = np.random.default_rng(0)
    for layer in batch_norms(model):
        for weight in layer.weights:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return model


def batch_norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def network(*layers):
    images = x = keras.Input((6, 6, 3))
    for layer in layers:
        x = layer(x)
    return scatter_statistics(keras.Model(images, x))


def assert_same_function(model, other):
    values = np.random.default_rng(1).standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    expected = np.asarray(model(values, training=False))
    assert np.linalg.norm(other(values, training=False) - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(4, 3, use_bias=False),
        keras.layers.Conv2D(4, 3, bias_initializer="ones"),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        keras.layers.SeparableConv2D(5, 3, use_bias=False),
        keras.layers.Dense(4),
    ],
    ids=["convolution", "convolution with bias", "depthwise", "separable", "dense"],
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.5}], ids=str)
def test_a_batch_norm_behind_a_linear_layer_is_folded_into_it(layer, options):
    model = network(type(layer).from_config(layer.get_config()), keras.layers.BatchNormalization(**options))
    folded = fold_batch_norms(model)
    assert not batch_norms(folded)
    assert_same_function(model, folded)


@pytest.mark.parametrize(
    "layers",
    [
        [keras.layers.BatchNormalization()],
        [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()],
        [keras.layers.Conv2D(4, 3), keras.layers.ReLU(), keras.layers.BatchNormalization()],
    ],
    ids=["at the input", "behind an activation of the layer", "behind an activation"],
)
def test_a_batch_norm_in_another_place_remains(layers):
    model = network(*layers)
    folded = fold_batch_norms(model)
    assert len(batch_norms(folded)) == 1
    assert_same_function(model, folded)


def test_a_batch_norm_remains_where_another_layer_reads_the_convolution_too():
    images = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3)(images)
    model = scatter_statistics(keras.Model(images, keras.layers.Add()([x, keras.layers.BatchNormalization()(x)])))
    folded = fold_batch_norms(model)
    assert len(batch_norms(folded)) == 1
    assert_same_function(model, folded)


def test_the_original_does_not_change_and_shares_no_weights():
    model = network(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    before = model.get_weights()
    folded = fold_batch_norms(model)
    folded.set_weights([np.zeros_like(weight) for weight in folded.get_weights()])
    for weight, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_frozen_layers_stay_frozen():
    model = network(keras.layers.Conv2D(4, 3, name="low"), keras.layers.Conv2D(4, 3, name="high"))
    model.get_layer("low").trainable = False
    folded = fold_batch_norms(model)
    assert not folded.get_layer("low").trainable
    assert folded.get_layer("high").trainable


# One network of each family, with how many BatchNorms remain in the top above 30 % of the layers.
REMAINING = {
    "EfficientNetLite0": 0,
    "MobileNetV2_035": 0,
    "MobileNetV3Small": 0,
    "EfficientNetB0": 0,
    "EfficientNetV2B0": 0,
    "InceptionV3": 0,
    "InceptionResNetV2": 0,
    "MobileNet": 0,
    "ResNet50": 0,
    "ResNet50V2": 13,
    "DenseNet121": 45,
    "NASNetMobile": 4,
    "Xception": 0,
    "ConvNeXtTiny": 0,
    "VGG16": 0,
}
QUICK = ("EfficientNetLite0", "MobileNetV3Small")


@pytest.mark.parametrize(
    ("name", "remaining"),
    [pytest.param(*item, marks=() if item[0] in QUICK else pytest.mark.slow) for item in REMAINING.items()],
)
def test_the_top_of_each_family_is_the_same_function_when_folded(name, remaining):
    size = max(64, backbone_table.get(name).minimum_size)
    model = scatter_statistics(build(name, size, "none"))
    top = cut(model, round(0.3 * len(model.layers))).top
    folded = fold_batch_norms(top)
    assert len(batch_norms(folded)) == remaining
    assert_same_function(top, folded)
