"""The layers that a vision transformer of KerasHub is laid open with: each has one input and one output."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from graft.backbone.clone import cloned


class Tokens(keras.layers.Layer):
    """The first layer on tokens: adds the position embeddings, and puts the class token and its like before them.

    From (batch, places, channels) to (batch, first + places, channels).

    Parameters
    ----------
    first : how many tokens come before those of the image; from 0.
    positions : whether there are position embeddings.
    """

    def __init__(self, first: int, positions: bool, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.positions = first, positions

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights: the first tokens with their own positions, and the positions of the places."""
        _, places, channels = input_shape
        if self.first:
            self.first_tokens = self.add_weight(shape=(1, self.first, channels), name="first_tokens")
        if self.positions:
            self.place_positions = self.add_weight(shape=(1, places, channels), name="place_positions")
        self.built = True

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return all tokens."""
        outputs = keras.ops.add(inputs, self.place_positions) if self.positions else inputs
        if not self.first:
            return outputs
        first_tokens = keras.ops.tile(self.first_tokens, (keras.ops.shape(inputs)[0], 1, 1))
        return keras.ops.concatenate([first_tokens, outputs], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of a copy."""
        return super().get_config() | {"first": self.first, "positions": self.positions}


class TransformerBlock(keras.layers.Layer):
    """A block of a transformer, with what it needs besides the tokens as constants.

    Parameters
    ----------
    inner : the block as KerasHub has it. Of a block with several outputs the first one counts.
    constants : further arguments of the block by name.
    """

    def __init__(self, inner: keras.Layer, constants: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner
        # A function, so that Keras does not look for layers and weights in it.
        self._constants: Callable[[], dict[str, Any]] = lambda: constants

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the block's weights."""
        self.inner.build(input_shape)
        self.built = True

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the block's tokens."""
        outputs = self.inner(inputs, **self._constants())
        return outputs[0] if isinstance(outputs, tuple) else outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the tokens."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of a copy; it is for `cloned`, and cannot be written to a file."""
        return super().get_config() | {"inner": self.inner, "constants": self._constants()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TransformerBlock":
        """Return a copy, without the weights, of the block that has this configuration."""
        return cls(**config | {"inner": cloned(config["inner"])})


class AttentionPool(TransformerBlock):
    """SigLIP's attention pooling as a class token: its vector comes before the tokens.

    From (batch, places, channels) to (batch, 1 + places, channels).
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the pooled vector and the tokens."""
        return keras.ops.concatenate([keras.ops.expand_dims(self.inner(inputs), axis=1), inputs], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the tokens."""
        batch, places, channels = input_shape
        return (batch, places and places + 1, channels)


class ClassAndPlaces(keras.layers.Layer):
    """Leaves out the tokens between the class token and those of the image: registers, or that of distillation.

    Parameters
    ----------
    first : how many tokens come before those of the image, from 2.
    """

    def __init__(self, first: int, **options: Any) -> None:
        super().__init__(**options)
        self.first = first

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the class token and those of the image."""
        return keras.ops.concatenate([inputs[:, :1], inputs[:, self.first :]], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of a copy."""
        return super().get_config() | {"first": self.first}


def resized_positions(positions: np.ndarray, places: int, antialias: bool = True) -> np.ndarray:
    """Return position embeddings for another number of places, interpolated (bicubic).

    Parameters
    ----------
    positions : float32 array (1, places, channels), of the places of a square, row by row.
    places : how many there are to be, a square number.
    antialias : whether a smaller square is smoothed, as timm does; KerasHub's DINOv2 does not.
    """
    side, new_side, channels = round(positions.shape[1] ** 0.5), round(places**0.5), positions.shape[2]
    if side == new_side:
        return positions
    grid = np.reshape(positions, (1, side, side, channels))
    resized = keras.ops.image.resize(
        grid, (new_side, new_side), "bicubic", antialias=antialias, data_format="channels_last"
    )
    return np.reshape(resized, (1, places, channels))
