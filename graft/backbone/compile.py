"""Compiling a Keras network to LiteRT."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from graft.backbone.build import preprocess

Scaling = Callable[[tf.Tensor], tf.Tensor]


def compile_network(
    model: keras.Model, scaling: str | Scaling | None = None, prepare: Callable[[Any], None] | None = None
) -> bytes:
    """Compile a Keras model to a LiteRT flatbuffer that takes one image at a time; the same bytes each time.

    Parameters
    ----------
    model : keras.Model
        A model with one input and one or more outputs. Its layers run in inference mode. The bytes hold its name and
        its layers' names: give it one, because Keras's automatic names depend on what the process built before.
    scaling : str, callable or None
        None: the compiled network takes the model's own input, float32 (1, ...). A backbone's name, or a function of
        float32 images (1, height, width, 3) with values 0 to 255: the compiled network takes RGB images, uint8
        (1, height, width, 3), and scales them itself.
    prepare : callable or None
        Sets options of the `tf.lite.TFLiteConverter` that it is given, such as those for quantised weights.

    Returns
    -------
    bytes
        The flatbuffer; its outputs are in the model's order.
    """
    dtype = tf.float32 if scaling is None else tf.uint8
    signature = [tf.TensorSpec((1, *model.input_shape[1:]), dtype, name="input")]

    @tf.function(input_signature=signature, autograph=False)
    def network(values: tf.Tensor) -> tf.Tensor:
        return model(scaled(tf.cast(values, tf.float32), scaling), training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    if prepare:
        prepare(converter)
    return converter.convert()


def scaled(images: tf.Tensor, scaling: str | Scaling | None) -> tf.Tensor:
    """Return float32 images (images, height, width, 3) as the network takes them; `scaling` as in `compile_network`."""
    if scaling is None:
        return images
    return preprocess(scaling, images) if isinstance(scaling, str) else scaling(images)
