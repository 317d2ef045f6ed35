"""A backbone of KerasHub as a graph that can be cut: of a known image size, with one input and one output."""

import math
import re
from collections import Counter

import keras

from graft.backbone.clone import cloned, copied
from graft.backbone.transformers import TRANSFORMERS, laid_open
from graft.backbone.weights import number_names


def graph(backbone: keras.Model, image_size: int, name: str) -> keras.Model:
    """Return a backbone as a functional model with copies of its weights.

    Parameters
    ----------
    backbone : an image encoder of KerasHub.
    image_size : height and width of an image in pixels, a multiple of `multiple_of(backbone)`.
    name : of the model.

    Returns
    -------
    keras.Model
        From scaled images (batch, image_size, image_size, 3) to a map (batch, height, width, channels); with a class
        token to tokens (batch, 1 + places, channels), as `transformers.laid_open` says.
    """
    if type(backbone).__name__ in TRANSFORMERS:
        model = laid_open(backbone, image_size)
    elif type(backbone).__name__ == "HGNetV2Backbone":
        model = _hgnet(backbone, image_size)
    else:
        model = _functional(backbone, image_size)
    model.name = name
    for layer in model.layers:
        _number_inner_names(layer)
    return number_names(model)


def multiple_of(backbone: keras.Model) -> int:
    """Return the number of pixels that an image's side must be a multiple of; 1 where any size will do."""
    strides = getattr(backbone, "layerwise_strides", None)
    if strides:
        return math.prod(strides)
    patch = getattr(backbone, "patch_size", 1)
    return patch if isinstance(patch, int) else int(patch[0])


def _number_inner_names(layer: keras.Layer) -> None:
    """Give layers inside of a layer that have automatic names the numbers of a fresh session, as `number_names` does.

    Compiled networks hold these names too.
    """
    counts: Counter[str] = Counter()
    for inner in layer._flatten_layers(include_self=False):  # noqa: SLF001
        prefix = re.sub(r"_\d+\Z", "", inner.name)
        if prefix.replace("_", "") == type(inner).__name__.lower():
            inner.name = f"{prefix}_{counts[prefix]}"
            counts[prefix] += 1


def _hgnet(backbone: keras.Model, image_size: int) -> keras.Model:
    """Return HGNetV2 with each of its stages as a layer."""
    images = keras.Input((image_size, image_size, 3), name="images")
    x = copied(backbone.embedder_layer, images)
    for number, stage in enumerate(backbone.encoder_layer.stages_list):
        x = copied(stage, x, name=f"stage_{number}")
    return keras.Model(images, x)


def _functional(backbone: keras.Model, image_size: int) -> keras.Model:
    """Return the backbone's own graph for images of this size."""
    shape = (image_size, image_size, 3)
    config = backbone.get_config()
    if "image_shape" in config:
        # Some of its layers have the size of their map as a setting.
        own_weights = backbone.get_weights()
        backbone = type(backbone).from_config(config | {"image_shape": shape})
        backbone.set_weights(own_weights)
    original = keras.Model(backbone.inputs[0], backbone.outputs[0])
    images = keras.Input(shape, name="images")
    model = keras.models.clone_model(original, input_tensors=images, clone_function=cloned)
    model.set_weights(original.get_weights())
    return _with_map(model)


def _with_map(model: keras.Model) -> keras.Model:
    """Return the model with a map as output: Swin has a row of places."""
    if len(model.output.shape) == 4:
        return model
    _, places, channels = model.output.shape
    side = math.isqrt(places)
    return keras.Model(model.input, keras.layers.Reshape((side, side, channels), name="map")(model.output))
