"""Layer decay: each block farther from the head learns at a smaller rate."""

import keras
import numpy as np
import pytest
from neutral_settings import fine_tune_settings

from graft.training import loop
from graft.training.batches import Examples
from graft.training.layer_decay import blocks_above

CLASSES, SIZE = 3, 4


def network():
    """Three dense blocks with a LayerNorm after the last one, and a head; seeded weights."""
    inputs = x = keras.Input((SIZE,))
    for number in range(3):
        x = keras.layers.Dense(
            SIZE, name=f"block_{number}", kernel_initializer=keras.initializers.GlorotUniform(number)
        )(x)
    x = keras.layers.LayerNormalization(name="norm")(x)
    head = keras.layers.Dense(CLASSES, name="head", kernel_initializer=keras.initializers.GlorotUniform(9))
    return keras.Model(inputs, head(x))


def examples():
    values = np.random.default_rng(0).normal(size=(8, SIZE)).astype(np.float32)
    return Examples(lambda rows, epoch: values[rows], np.arange(8) % CLASSES)


def trained(**settings):
    """Return the network's weights before and after one step, by name."""
    model = network()
    before = {weight.path: np.array(weight) for weight in model.weights}
    loop.train(model, examples(), None, fine_tune_settings(epochs=1, **settings), lr=0.1, seed=0)
    return {weight.path: (before[weight.path], np.array(weight)) for weight in model.weights}


def test_blocks_are_counted_from_the_head_and_a_norm_belongs_to_what_is_above_it():
    model = network()
    above = blocks_above(model)
    found = {layer.name: above[id(layer.weights[0])] for layer in model.layers if layer.weights}
    assert found == {"block_0": 3, "block_1": 2, "block_2": 1, "norm": 0, "head": 0}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_a_step_is_that_without_decay_times_the_decay_for_each_block_above(optimizer):
    options = {"optimizer": optimizer, "momentum": 0.0, "weight_decay": 0.1}
    whole, decayed = trained(layer_decay=1.0, **options), trained(layer_decay=0.5, **options)
    for name, factor in {"block_0": 0.125, "block_1": 0.25, "block_2": 0.5, "norm": 1, "head": 1}.items():
        paths = [path for path in whole if path.startswith(name)]
        assert paths
        for path in paths:
            (before, after), (start, end) = whole[path], decayed[path]
            np.testing.assert_array_equal(before, start)
            np.testing.assert_allclose(end - start, factor * (after - before), rtol=1e-3, atol=1e-7)


def test_the_averaged_weights_are_those_of_the_decayed_steps():
    moved = {path: abs(after - before).max() for path, (before, after) in trained(layer_decay=1e-6, ema=0.5).items()}
    assert max(change for path, change in moved.items() if path.startswith("block_")) < 1e-5
    assert moved["head/kernel"] > 1e-3
