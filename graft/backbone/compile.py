"""Compiling a Keras network to LiteRT."""

from collections.abc import Callable

import keras

from graft.backbone import build


def compile_network(model: keras.Model, preprocess: str | Callable | None = None) -> bytes:
    """Compile a Keras model to a LiteRT flatbuffer for one image at a time, the same bytes each time.

    Parameters
    ----------
    model : keras.Model
        A model of one input and one or more outputs; layers such as BatchNorm run in inference mode.
    preprocess : str, callable or None
        A backbone's name, or a function of a float32 image batch: the compiled network then takes uint8 RGB
        images (1, height, width, 3), and scaling is inside it. None: it takes the model's own input, float32.

    Returns
    -------
    bytes
        The flatbuffer; its outputs stand in the model's order.
    """
    import tensorflow as tf

    scale = _scaling(preprocess)
    dtype = tf.float32 if preprocess is None else tf.uint8

    signature = [tf.TensorSpec((1, *model.input_shape[1:]), dtype, name="input")]

    @tf.function(input_signature=signature, autograph=False)
    def network(values):
        return model(scale(tf.cast(values, tf.float32)), training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    return converter.convert()


def _scaling(preprocess: str | Callable | None) -> Callable:
    if preprocess is None:
        return lambda tensor: tensor
    if isinstance(preprocess, str):
        return lambda images: build.preprocess(preprocess, images)
    return preprocess
