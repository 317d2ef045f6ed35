"""A network whose trainable weights are two long vectors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

# Each long vector, with the weights of the network that it has one after the other.
Parts = tuple[tuple[keras.Variable, list[keras.Variable]], ...]


class FlatNetwork(keras.Model):
    """The trainable weights of a network, in two vectors: an optimiser's step takes a few operations, not hundreds.

    Optimisers and callbacks get it in place of the network. With the 50 weights of EfficientNetLite0's top, a compiled
    step of AdamW is three times as fast, and so is its first call (benchmarks/training_step.py).

    Parameters
    ----------
    network : keras.Model
        A built model with trainable weights of one axis and of more axes. Its own weights do not change until
        `write_back`.

    Attributes
    ----------
    kernels, vectors : keras.Variable
        The trainable weights with two or more axes, and those with one axis (biases, scales), one after the other:
        float32 (values,).
    """

    def __init__(self, network: keras.Model) -> None:
        super().__init__(name=network.name)
        weights = network.trainable_variables
        kernels = [weight for weight in weights if len(weight.shape) > 1]
        vectors = [weight for weight in weights if len(weight.shape) == 1]
        # Functions, because Keras counts the variables that it finds in an attribute among this model's own weights.
        self._network_variables: Callable[[], list[keras.Variable]] = lambda: network.variables
        self._parts: Callable[[], Parts] = lambda: ((self.kernels, kernels), (self.vectors, vectors))
        self.kernels: keras.Variable = self._concatenated(kernels, "kernels")
        self.vectors: keras.Variable = self._concatenated(vectors, "vectors")
        self.built = True

    def _concatenated(self, weights: list[keras.Variable], name: str) -> keras.Variable:
        values = np.concatenate([np.asarray(weight).ravel() for weight in weights])
        vector = self.add_weight(shape=values.shape, name=name)
        vector.assign(values)
        return vector

    def spread(self, vector: keras.Variable, number_of: Callable[[keras.Variable], float]) -> tf.Tensor:
        """Return a number for each value of a vector, float32 (values,): that of the network's weight it belongs to.

        Parameters
        ----------
        vector : `kernels` or `vectors`.
        number_of : from a weight of the network to its number.
        """
        weights = next(weights for own, weights in self._parts() if own is vector)
        return tf.concat(
            [tf.fill([size], number_of(weight)) for weight, size in zip(weights, _sizes(weights), strict=True)], axis=0
        )

    @contextmanager
    def in_use(self, *layers: keras.Layer) -> Iterator[None]:
        """Let the network compute with these weights inside the block; gradients go to `trainable_variables`.

        Parameters
        ----------
        layers : others that compute in the block. What they and the network change, such as the state of dropout's
            random generators, is kept.
        """
        mapping = [
            (weight, tf.reshape(part, weight.shape))  # (values,) before
            for vector, weights in self._parts()
            for weight, part in zip(weights, tf.split(tf.convert_to_tensor(vector), _sizes(weights)), strict=True)
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            yield
        replaced = {id(weight) for weight, _ in mapping}
        for variable in [*self._network_variables(), *(state for layer in layers for state in layer.variables)]:
            value = scope.get_current_value(variable)
            if value is not None and id(variable) not in replaced:
                variable.assign(value)

    def write_back(self) -> None:
        """Set the network's own weights to these."""
        for vector, weights in self._parts():
            parts = np.split(np.asarray(vector), np.cumsum(_sizes(weights))[:-1])
            for weight, part in zip(weights, parts, strict=True):
                weight.assign(part.reshape(weight.shape))


def _sizes(weights: list[keras.Variable]) -> list[int]:
    return [int(np.prod(weight.shape)) for weight in weights]
