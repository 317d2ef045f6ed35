"""Attaches a head to the backbone: the network that fine_tune trains, and the classifier that is exported."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from graft.backbone.compile import compile_network
from graft.backbone.fold_batch_norm import fold_batch_norms
from graft.backbone.frozen import Backbone
from graft.heads.head import Head
from graft.heads.layers import LAST_LAYER, head_logits
from graft.settings.pooling import pool_tensor

# Makes a second output of the network from its probabilities and its features.
SecondOutput = Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]


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


def compile_classifier(
    backbone: Backbone,
    upper: keras.Model,
    second: SecondOutput | None = None,
    prepare: Callable[[Any], None] | None = None,
) -> bytes:
    """Compile the whole classifier: one uint8 RGB image (1, size, size, 3) to float32 probabilities (1, classes).

    The bytes do not depend on what the process has built before: each model and layer has a name.

    Parameters
    ----------
    backbone : gives the trunk, the part below the cut.
    upper : the part above the cut, as `attach_head` returns it: feature maps to logits.
    second : gives the network a second output, made of the probabilities and of the features (1, features): what the
        head's first dense layer takes. Feature maps are averaged over their places.
    prepare : as in `compile_network`.
    """
    trunk = backbone.cut.trunk
    if second:
        probabilities, features = _probabilities_and_features(upper, trunk.output, "upper")
        outputs = [probabilities, second(probabilities, features)]
    else:
        outputs = keras.ops.softmax(keras.Model(upper.input, upper.output, name="upper")(trunk.output))
    return compile_network(keras.Model(trunk.input, outputs, name="classifier"), backbone.scaling, prepare)


def compile_together(backbone: Backbone, uppers: Sequence[keras.Model]) -> bytes:
    """Compile classifiers that share a trunk into one network, which runs the trunk once.

    Its outputs are the probabilities (1, classes) and the features (1, features) of the first, then those of the next;
    otherwise as in `compile_classifier`.
    """
    trunk = backbone.cut.trunk
    outputs = [
        output
        for number, upper in enumerate(uppers)
        for output in _probabilities_and_features(upper, trunk.output, f"upper_{number}")
    ]
    return compile_network(keras.Model(trunk.input, outputs, name="classifiers"), backbone.scaling)


def _probabilities_and_features(
    upper: keras.Model, maps: keras.KerasTensor, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    logits, features = keras.Model(upper.input, [upper.output, _features(upper)], name=name)(maps)
    return keras.ops.softmax(logits), features


def _features(upper: keras.Model) -> keras.KerasTensor:
    # `head_logits` puts a Flatten before the dense layers.
    flatten = next(layer for layer in reversed(upper.layers) if isinstance(layer, keras.layers.Flatten))
    features = flatten.input
    places = tuple(range(1, len(features.shape) - 1))
    return keras.ops.mean(features, axis=places) if places else features
