"""The backbone that stage freeze wrote: read, built and cut again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from graft.backbone.compile import Scaling, scaled
from graft.backbone.cut import Cut, cut
from graft.backbone.network import network_again
from graft.core import paths
from graft.core.files import read_json
from graft.settings.pooling import pool_tensor

# Of `extract.precision`: Keras's policy, which keeps the weights in float32.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True)
class Backbone:
    """The frozen backbone with its weights, cut in two.

    Attributes
    ----------
    name : a name of `backbone_table.NAMES`, or ``hub/`` and a preset of KerasHub.
    cut : its two halves.
    pooling : how its feature map becomes features, a key of `settings.pooling.POOLINGS`.
    own_scaling : of a preset, how its images are scaled; None for a network of the table, whose name says it.
    """

    name: str
    cut: Cut
    pooling: str
    own_scaling: Scaling | None = None

    @property
    def scaling(self) -> str | Scaling:
        """How its images are scaled, as `compile_network` takes it."""
        return self.own_scaling or self.name


def frozen_backbone(image_size: int | None = None) -> Backbone:
    """Read data/backbone; return the network with its frozen weights, with the cut in the same place.

    Parameters
    ----------
    image_size : pixels on each side of its images; None for the size of stage freeze.

    Raises
    ------
    GraftError
        If a file is missing.
    """
    description = read_json(paths.BACKBONE_DESCRIPTION)
    network = network_again(description, image_size)
    halves = cut(network.model, description["from_layer"], description["to_layer"])
    own_scaling = network.scaling if callable(network.scaling) else None
    return Backbone(description["backbone"], halves, description["pooling"], own_scaling)


def feature_network(outputs: Sequence[str], precision: str) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Read data/backbone; return a function of uint8 RGB images (images, size, size, 3).

    It gives what the compiled trunk and top give of each image, a tensor (images, ...) for each output.

    Parameters
    ----------
    outputs : ("map",), or ("map", "features").
    precision : a key of `POLICIES`. Images are scaled, and maps are pooled, in float32.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[precision])
    try:
        backbone = frozen_backbone()
    finally:
        keras.config.set_dtype_policy(policy)
    trunk, top = backbone.cut.trunk, backbone.cut.top
    entry = keras.Input(top.output.shape[1:], dtype="float32")
    pool = keras.Model(entry, pool_tensor(entry, backbone.pooling))

    def network(images: tf.Tensor) -> list[tf.Tensor]:
        feature_map = trunk(scaled(tf.cast(images, tf.float32), backbone.scaling), training=False)
        if "features" not in outputs:
            return [feature_map]
        return [feature_map, pool(tf.cast(top(feature_map, training=False), tf.float32), training=False)]

    return network
