"""Optimisers: those of Keras by name, with momentum where they have one, and a moving average of the weights."""

import math

import keras
import numpy as np
import pytest

from graft.settings.optimizers import OPTIMIZERS, build_optimizer, ema_options


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_name_is_the_optimiser_of_keras_that_is_called_so(name):
    optimizer = build_optimizer(name, 0.8, learning_rate=0.01, weight_decay=0.1)
    assert type(optimizer).__name__.lower() == name
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    assert optimizer.weight_decay == 0.1


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.8), ("rmsprop", 0.8), ("adam", None), ("adamw", None)])
def test_optimisers_that_have_a_momentum_get_it(name, momentum):
    assert getattr(build_optimizer(name, 0.8, learning_rate=0.01), "momentum", None) == momentum


def test_without_an_average_there_are_no_options():
    assert ema_options(0.0, 100) == {}


@pytest.mark.parametrize("steps", [40, 4000])
def test_weights_as_old_as_the_share_of_all_steps_count_a_factor_e_less(steps):
    momentum = ema_options(0.25, steps)["ema_momentum"]
    assert momentum ** (0.25 * steps) == pytest.approx(1 / math.e)


def test_the_optimiser_keeps_the_average():
    weight = keras.Variable(np.float32(0))
    optimizer = build_optimizer("sgd", 0.0, learning_rate=1.0, **ema_options(0.5, 4))
    momentum, average = math.exp(-1 / 2), 0.0
    for step in range(4):
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(-1))], [weight])
        # The first step sets the average.
        average = momentum * average + (1 - momentum) * (step + 1) if step else 1.0
    optimizer.finalize_variable_values([weight])
    assert float(weight) == pytest.approx(average)
