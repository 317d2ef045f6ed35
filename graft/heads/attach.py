"""The head on the backbone: the part that is trained, and the whole that is exported."""

import keras
import numpy as np

from graft.backbone.compile import compile_network
from graft.backbone.fold_batch_norm import fold_batch_norms
from graft.backbone.frozen import Backbone
from graft.heads.head import Head
from graft.heads.layers import LAST_LAYER, head_logits
from graft.settings.pooling import pool_tensor


def attach_head(top: keras.Model, pooling: str, head: Head) -> keras.Model:
    """Return `top`, pooling and head in one: maps at the cut, (images, h, w, c), to logits (images, classes)."""
    return keras.Model(top.input, head_logits(pool_tensor(top.output, pooling), head))


def trainable_network(backbone: Backbone, head: Head) -> keras.Model:
    """Return `attach_head` with its BatchNorms folded in, of which the cut's trainable layers and the head train."""
    top = backbone.cut.top
    model = attach_head(top, backbone.pooling, head)
    frozen = {layer.name for layer in top.layers}.difference(backbone.cut.trainable)
    for layer in model.layers:
        layer.trainable = layer.name not in frozen
    return fold_batch_norms(model)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Make a network of `attach_head` give its logits divided by `temperature`, above 0, by scaling its last layer."""
    last = model.get_layer(LAST_LAYER)
    last.set_weights([weight / np.float32(temperature) for weight in last.get_weights()])


def compile_classifier(backbone: Backbone, upper: keras.Model) -> bytes:
    """Compile the whole classifier: one uint8 RGB image (1, size, size, 3) to float32 probabilities (1, classes).

    Parameters
    ----------
    backbone : whose trunk is below the cut.
    upper : from the map at the cut to logits, as `attach_head` returns it.
    """
    logits = upper(backbone.cut.trunk.output)
    return compile_network(keras.Model(backbone.cut.trunk.input, keras.ops.softmax(logits)), backbone.name)
