"""A network whose trainable weights are two long vectors."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf


class FlatNetwork(keras.Model):
    """The trainable weights of a network in two rows: an optimiser's step is a few operations then, not hundreds.

    It serves optimisers and callbacks in the network's place. With the 50 weights of EfficientNetLite0's top, a
    compiled step of AdamW is three times as fast, its first call too (benchmarks/training_step.py).

    Parameters
    ----------
    network : keras.Model
        A built model with trainable weights of one and of more axes. Its own weights stay until `write_back`.

    Attributes
    ----------
    kernels, vectors : keras.Variable
        The trainable weights of two and more axes, and those of one (biases, scales): float32 (values,).
    """

    def __init__(self, network: keras.Model):
        super().__init__(name=network.name)
        weights = network.trainable_variables
        kernels = [weight for weight in weights if len(weight.shape) > 1]
        vectors = [weight for weight in weights if len(weight.shape) == 1]
        # In functions, for Keras would count what it finds in an attribute among this model's own weights.
        self._variables_of_network = lambda: network.variables
        self._rows = lambda: ((self.kernels, kernels), (self.vectors, vectors))
        self.kernels = self._in_a_row(kernels, "kernels")
        self.vectors = self._in_a_row(vectors, "vectors")
        self.built = True

    def _in_a_row(self, weights: list[keras.Variable], name: str) -> keras.Variable:
        values = np.concatenate([np.asarray(weight).ravel() for weight in weights])
        row = self.add_weight(shape=values.shape, name=name)
        row.assign(values)
        return row

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the network compute with these weights in place of its own; gradients go to `trainable_variables`."""
        mapping = [
            (weight, tf.reshape(part, weight.shape))
            for row, weights in self._rows()
            for weight, part in zip(weights, tf.split(tf.convert_to_tensor(row), _sizes(weights)), strict=True)
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            yield
        # What the network itself has changed: the state of the generators of dropout.
        ours = {id(weight) for weight, _ in mapping}
        for variable in self._variables_of_network():
            value = scope.get_current_value(variable)
            if value is not None and id(variable) not in ours:
                variable.assign(value)

    def write_back(self) -> None:
        """Give the network these weights."""
        for row, weights in self._rows():
            parts = np.split(np.asarray(row), np.cumsum(_sizes(weights))[:-1])
            for weight, part in zip(weights, parts, strict=True):
                weight.assign(part.reshape(weight.shape))


def _sizes(weights: list[keras.Variable]) -> list[int]:
    return [int(np.prod(weight.shape)) for weight in weights]
