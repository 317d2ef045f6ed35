"""Compiling a network in whole numbers of 8 bits: which images show the ranges, and how the converter is set.

The range of each value inside the network is measured on training images, and divided into 255 steps (Jacob et al.
2018, arXiv 1712.05877). Networks with bounded activations, such as ReLU6, lose little.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from graft.backbone.compile import compile_network, scaled
from graft.backbone.frozen import frozen_backbone
from graft.core import paths
from graft.core.errors import GraftError, one_line
from graft.core.files import read_json
from graft.core.quiet import hidden
from graft.images import loader
from graft.images.table import ImageTable
from graft.settings.pooling import pool_tensor

CALIBRATION_IMAGES = 200


def calibration_images(images: ImageTable, size: int, resize: str) -> list[np.ndarray]:
    """Return the images that show the ranges, each uint8 RGB (size, size, 3).

    The hash of an image decides whether it is one of them.

    Parameters
    ----------
    images : to choose from: the training part.
    size, resize : as for `loader.load`.
    """
    files, some = images.files(), np.argsort(images.sha256, kind="stable")[:CALIBRATION_IMAGES]
    return [loader.load(files[row], size, resize) for row in some]


def in_int8(inputs: Sequence[np.ndarray], floats_too: bool = False) -> Callable[[Any], None]:
    """Return what sets a converter, as `prepare` of `compile_network`, to whole numbers of 8 bits.

    The network takes what it took before, and gives float32.

    Parameters
    ----------
    inputs : of the network, without the batch axis, which show the ranges.
    floats_too : an operation that LiteRT has for floats alone stays as it is; else it is an error.
    """

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([each[np.newaxis]] for each in inputs)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if floats_too:
            converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS)
        converter.inference_input_type = tf.as_dtype(inputs[0].dtype)
        converter.inference_output_type = tf.float32

    return prepare


def frozen_in_int8(train: ImageTable) -> tuple[bytes, bytes]:
    """Read data/backbone; return its trunk and its pooled top, compiled in whole numbers; the same bytes each time.

    Parameters
    ----------
    train : the training images, which show the ranges.

    Raises
    ------
    GraftError
        If the network cannot be compiled so, or an image cannot be read.
    """
    description, backbone = read_json(paths.BACKBONE_DESCRIPTION), frozen_backbone()
    images = calibration_images(train, description["image_size"], description["resize"])
    trunk, top = backbone.cut.trunk, backbone.cut.top
    pooled = keras.Model(top.input, pool_tensor(top.output, backbone.pooling), name=top.name)
    exact = tf.function(lambda image: trunk(scaled(tf.cast(image, tf.float32), backbone.scaling), training=False))
    maps = [exact(image[np.newaxis]).numpy()[0] for image in images]
    try:
        with hidden():
            return (
                compile_network(trunk, backbone.scaling, in_int8(images, floats_too=True)),
                compile_network(pooled, None, in_int8(maps, floats_too=True)),
            )
    except (RuntimeError, ValueError) as error:
        raise GraftError(
            f"extract.precision: {backbone.name} cannot be computed in int8 ({one_line(str(error))[:200]}); set float32"
        ) from error
