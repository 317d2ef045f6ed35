"""Attaches a head to the backbone: the network that fine_tune trains, and the classifier that is exported."""

import keras
import numpy as np

from graft.backbone.compile import compile_network
from graft.backbone.fold_batch_norm import fold_batch_norms
from graft.backbone.frozen import Backbone
from graft.heads.head import Head
from graft.heads.layers import LAST_LAYER, head_logits
from graft.settings.pooling import pool_tensor


def attach_head(top: keras.Model, pooling: str, head: Head) -> keras.Model:
    """Return one model of `top`, pooling and head, from maps or tokens at the cut to logits (images, classes)."""
    return keras.Model(top.input, head_logits(pool_tensor(top.output, pooling), head))


def trainable_network(backbone: Backbone, head: Head) -> keras.Model:
    """Return `attach_head` with folded BatchNorms. The cut's trainable layers and the head can be trained."""
    top = backbone.cut.top
    model = attach_head(top, backbone.pooling, head)
    frozen = {layer.name for layer in top.layers}.difference(backbone.cut.trainable)
    for layer in model.layers:
        layer.trainable = layer.name not in frozen
    return fold_batch_norms(model)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Divide the logits of a model of `attach_head` by `temperature`, above 0: this changes its last layer."""
    last = model.get_layer(LAST_LAYER)
    last.set_weights([weight / np.float32(temperature) for weight in last.get_weights()])


def compile_classifier(backbone: Backbone, upper: keras.Model) -> bytes:
    """Compile the whole classifier: one uint8 RGB image (1, size, size, 3) to float32 probabilities (1, classes).

    Parameters
    ----------
    backbone : gives the trunk, the part below the cut.
    upper : the part above the cut, as `attach_head` returns it: feature maps to logits.
    """
    logits = upper(backbone.cut.trunk.output)
    return compile_network(keras.Model(backbone.cut.trunk.input, keras.ops.softmax(logits)), backbone.scaling)
