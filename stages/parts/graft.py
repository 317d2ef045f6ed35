"""The new head on the old backbone: the part that is trained, and the whole that is exported."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from stages.parts import backbones, dense_heads, trunk
from stages.parts.files import read_json
from stages.parts.folding import fold_batch_norms
from stages.parts.heads import Head


@dataclass(frozen=True)
class Backbone:
    """What `freeze` fixed, built again with its weights.

    Attributes
    ----------
    name : in the registry.
    cut : its two halves.
    pooling : how its feature map becomes features.
    """

    name: str
    cut: trunk.Cut
    pooling: str


def frozen_backbone(folder: Path, image_size: int | None = None) -> Backbone:
    """Read data/backbone, and return the network with its frozen weights, cut where `freeze` cut it.

    Parameters
    ----------
    folder : data/backbone.
    image_size : pixels on each side that it takes; None for those that it was frozen at.

    Raises
    ------
    GraftError
        If a file is missing.
    """
    description = read_json(folder / "backbone.json")
    model = backbones.build(description["backbone"], image_size or description["image_size"], "none")
    model.load_weights(folder / "backbone.weights.h5")
    cut = trunk.cut(model, description["from_layer"], description["to_layer"])
    return Backbone(description["backbone"], cut, description["pooling"])


def grafted(top: keras.Model, pooling: str, head: Head) -> keras.Model:
    """Return `top`, pooling and head in one: maps at the cut, (images, h, w, c), to logits (images, classes)."""
    return keras.Model(top.input, dense_heads.attached(trunk.pool(top, pooling).output, head))


def trainable(backbone: Backbone, head: Head) -> keras.Model:
    """Return `grafted` with its BatchNorms folded in, of which the cut's trainable layers and the head train."""
    top = backbone.cut.top
    model = grafted(top, backbone.pooling, head)
    frozen = {layer.name for layer in top.layers}.difference(backbone.cut.trainable)
    for layer in model.layers:
        layer.trainable = layer.name not in frozen
    return fold_batch_norms(model)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Make a network of `grafted` give its logits divided by `temperature`, above 0, by scaling its last layer."""
    last = model.get_layer(dense_heads.LAST_LAYER)
    last.set_weights([weight / np.float32(temperature) for weight in last.get_weights()])


def classifier(backbone: Backbone, upper: keras.Model) -> bytes:
    """Compile the whole classifier: one uint8 RGB image (1, size, size, 3) to float32 probabilities (1, classes).

    Parameters
    ----------
    backbone : whose trunk is below the cut.
    upper : from the map at the cut to logits, as `grafted` returns it.
    """
    logits = upper(backbone.cut.trunk.output)
    return trunk.compile_network(keras.Model(backbone.cut.trunk.input, keras.ops.softmax(logits)), backbone.name)
