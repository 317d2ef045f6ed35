"""A backbone, from the table or from KerasHub, built again from the weights that stage freeze wrote."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from graft.backbone.build import build
from graft.core import paths


@dataclass(frozen=True)
class Network:
    """A backbone with its weights.

    Attributes
    ----------
    model : from scaled images to the last feature map, or to tokens.
    image_size : pixels on each side of its images.
    scaling : how images are scaled, as `compile_network` takes it.
    description : what data/backbone/backbone.json has of a network of KerasHub, so that later stages do not need the
        preset; empty for a network of the table.
    """

    model: keras.Model
    image_size: int
    scaling: str | Callable[[tf.Tensor], tf.Tensor]
    description: dict[str, Any] = field(default_factory=dict)


def network_again(description: Mapping[str, Any], size: int | None = None) -> Network:
    """Return the network of data/backbone.

    Parameters
    ----------
    description : the content of data/backbone/backbone.json.
    size : pixels on each side of its images; None for those of the description.
    """
    name, trained_size = description["backbone"], description["image_size"]
    size = size or trained_size
    if "preset" not in description:
        model = build(name, size, "none")
        model.load_weights(paths.BACKBONE_WEIGHTS)
        return Network(model, size, name)
    from graft.backbone import hub

    preset = hub.Preset(**description["preset"])
    return Network(hub.rebuilt(name, preset, size, paths.BACKBONE_WEIGHTS, trained_size), size, preset.scaling)
