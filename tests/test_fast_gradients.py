"""Layers with faster gradients give the outputs and gradients of Keras's layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from graft.training.fast_gradients import with_fast_gradients


def network(height, width, kernel_size, strides=1, padding="same"):
    maps = keras.Input((height, width, 6))
    x = keras.layers.Conv2D(8, 1, activation="relu6", name="pointwise")(maps)
    x = keras.layers.DepthwiseConv2D(kernel_size, strides, padding, name="depthwise")(x)
    model = keras.Model(maps, x)
    draw = np.random.default_rng(0)
    model.set_weights([draw.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def outputs_and_gradients(model, maps):
    with tf.GradientTape() as tape:
        tape.watch(maps)
        outputs = model(maps)
        loss = tf.reduce_sum(tf.sin(outputs))
    return outputs, *tape.gradient(loss, [maps, *model.trainable_variables])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5), (4, 4), (7, 7)])
@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("strides", [1, 2])
def test_outputs_and_gradients_are_those_of_keras(height, width, kernel_size, strides):
    model = network(height, width, kernel_size, strides)
    maps = tf.constant(np.random.default_rng(1).normal(size=(3, height, width, 6)).astype(np.float32))
    expected = outputs_and_gradients(model, maps)
    for value, reference in zip(outputs_and_gradients(with_fast_gradients(model), maps), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("side", "kernel_size"), [(4, 3), (9, 5), (8, 5)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2])
def test_depthwise_convolutions_of_either_padding_are_those_of_keras(padding, strides, side, kernel_size):
    model = network(side, side, kernel_size, strides, padding)
    maps = tf.constant(np.random.default_rng(1).normal(size=(3, side, side, 6)).astype(np.float32))
    expected = outputs_and_gradients(model, maps)
    for value, reference in zip(outputs_and_gradients(with_fast_gradients(model), maps), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("kernel_size", [(5, 5), (3, 7), (7, 9), (4, 5)])
def test_wide_kernels_have_the_gradients_of_keras_however_many_images_there_are(images, kernel_size):
    model = network(6, 9, kernel_size)
    maps = tf.constant(np.random.default_rng(1).normal(size=(images, 6, 9, 6)).astype(np.float32))
    expected = outputs_and_gradients(model, maps)
    of_any_number = tf.function(outputs_and_gradients, reduce_retracing=True).get_concrete_function(
        with_fast_gradients(model), tf.TensorSpec((None, 6, 9, 6))
    )
    for value, reference in zip(of_any_number(maps), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("strides", "columns", "padding"), [(1, {5}, "EXPLICIT"), (2, {5}, "EXPLICIT")])
def test_wide_kernels_are_never_differentiated_by_the_slow_kernel_of_onednn(strides, columns, padding):
    model = with_fast_gradients(network(9, 9, 5, strides))
    traced = tf.function(outputs_and_gradients).get_concrete_function(model, tf.TensorSpec((2, 9, 9, 6)))
    kinds = [each for each in traced.graph.get_operations() if each.type == "DepthwiseConv2dNativeBackpropFilter"]
    assert {int(tf.get_static_value(each.inputs[1])[1]) for each in kinds} == columns
    assert {each.get_attr("padding").decode() for each in kinds} == {padding}


def test_products_in_bfloat16_are_near_and_weights_and_outputs_stay_float32():
    model = network(8, 8, 3)
    maps = tf.constant(np.random.default_rng(1).normal(size=(3, 8, 8, 6)).astype(np.float32))
    twin = with_fast_gradients(model, "bfloat16")
    expected, found = outputs_and_gradients(model, maps), outputs_and_gradients(twin, maps)
    for value, reference in zip(found, expected, strict=True):
        assert value.dtype == tf.float32
        # bfloat16 has eight significant bits. The gradient of the loss, a cosine, makes differences ten times as large.
        assert 1e-5 < np.linalg.norm(value - reference) / np.linalg.norm(reference) < 0.1
    for weight, same in zip(twin.weights, model.weights, strict=True):
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(weight, same)


def test_the_copy_has_layers_of_its_own_kinds():
    twin = with_fast_gradients(network(4, 4, 3))
    assert type(twin.get_layer("pointwise")) is not keras.layers.Conv2D
    assert type(twin.get_layer("depthwise")) is not keras.layers.DepthwiseConv2D


class Inside(keras.layers.Layer):
    """A layer with another one inside, as in KerasHub's blocks."""

    def build(self, shape):
        self.dense = keras.layers.Dense(5, "gelu", kernel_initializer=keras.initializers.GlorotUniform(1))
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)


def test_gelu_has_the_outputs_and_gradients_of_keras_and_keeps_its_inputs_alone():
    values = keras.Input((7,))
    x = keras.layers.Activation("gelu")(Inside()(values))
    model = keras.Model(values, x)
    twin = with_fast_gradients(model)
    inputs = tf.constant(np.random.default_rng(1).normal(0, 3, (40, 7)).astype(np.float32))
    expected = outputs_and_gradients(model, inputs)
    for value, reference in zip(outputs_and_gradients(twin, inputs), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)
    # What the gradient of erfc would need is not there.
    traced = tf.function(outputs_and_gradients).get_concrete_function(twin, tf.TensorSpec((40, 7)))
    kinds = [each.type for each in traced.graph.get_operations()]
    assert (kinds.count("Erfc"), kinds.count("Erf")) == (2, 2)
