"""A network's trainable weights in two vectors are the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from graft.training.flat_network import FlatNetwork


@pytest.fixture
def network():
    maps = keras.Input((2, 2, 3))
    x = keras.layers.Conv2D(4, 1, trainable=False, name="frozen")(maps)
    x = keras.layers.Conv2D(5, 2, name="convolution")(x)
    x = keras.layers.Dropout(0.5, seed=0)(keras.layers.Flatten()(x))
    return keras.Model(maps, keras.layers.Dense(2, name="head")(x))


MAPS = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)


def test_kernels_and_vectors_hold_what_is_trainable_and_nothing_else(network):
    flat = FlatNetwork(network)
    kernels = [network.get_layer(name).kernel for name in ("convolution", "head")]
    np.testing.assert_array_equal(flat.kernels, np.concatenate([np.ravel(kernel) for kernel in kernels]))
    assert flat.vectors.shape == (5 + 2,)
    assert flat.trainable_variables == [flat.kernels, flat.vectors]
    assert flat.non_trainable_variables == []


def test_in_use_the_network_computes_with_the_vectors_and_gradients_go_to_them(network):
    flat = FlatNetwork(network)
    before = network(MAPS).numpy()
    flat.vectors.assign(np.array([0, 0, 0, 0, 0, 1, 2], np.float32))
    with tf.GradientTape() as tape, flat.in_use():
        outputs = network(MAPS)
        total = tf.reduce_sum(outputs)
    np.testing.assert_allclose(outputs, before + np.array([1, 2]), rtol=1e-5, atol=1e-5)
    of_kernels, of_vectors = tape.gradient(total, flat.trainable_variables)
    assert of_kernels.shape == flat.kernels.shape
    np.testing.assert_array_equal(of_vectors[-2:], [2, 2])  # one for each image
    np.testing.assert_array_equal(network(MAPS), before)


def test_the_network_has_these_weights_after_write_back(network):
    flat = FlatNetwork(network)
    flat.kernels.assign(np.arange(flat.kernels.shape[0], dtype=np.float32))
    frozen = np.asarray(network.get_layer("frozen").kernel)
    flat.write_back()
    size = network.get_layer("convolution").kernel.shape
    np.testing.assert_array_equal(network.get_layer("convolution").kernel, np.arange(np.prod(size)).reshape(size))
    np.testing.assert_array_equal(network.get_layer("frozen").kernel, frozen)


def test_dropout_drops_other_values_each_time(network):
    flat = FlatNetwork(network)

    @tf.function
    def outputs():
        with flat.in_use():
            return network(MAPS, training=True)

    assert not np.array_equal(outputs(), outputs())


def test_callbacks_can_keep_and_restore_the_vectors(network):
    flat = FlatNetwork(network)
    kept = flat.get_weights()
    flat.kernels.assign(flat.kernels * 2)
    flat.set_weights(kept)
    flat.write_back()
    np.testing.assert_array_equal(np.ravel(network.get_layer("head").kernel), np.asarray(flat.kernels)[-10:])
