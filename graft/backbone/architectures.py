"""How each backbone is built, which weights were published for it, and how its images are scaled."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from graft.backbone import efficientnet_lite, resnext
from graft.backbone.downloads import limited
from graft.backbone.weights import load_weights, number_names
from graft.core.errors import GraftError
from graft.settings.backbone_table import Backbone

# EfficientNet's ImageNet weights expect one more division by the square root of the standard deviation
# (keras.applications.efficientnet, at `weights == "imagenet"`).
EFFICIENTNET_SCALES = [1 / deviation**0.5 for deviation in (0.229, 0.224, 0.225)]


@dataclass(frozen=True)
class Family:
    """How the networks of one module are built and how their images are scaled.

    Each function takes a row of the backbone table, `record`. Untrained networks have the weights of their layers'
    initialisers.

    Attributes
    ----------
    build : callable
        ``build(record, image_size)`` returns the untrained network without its classification layers.
    scale : callable
        ``scale(record, images)`` returns what the network expects for RGB images, float32, values 0 to 255; the images
        may be a KerasTensor.
    published : callable or None
        ``published(record, image_size)`` returns the network of `build` with its ImageNet weights.
    classifier : callable or None
        ``classifier(record)`` returns the whole network with its ImageNet weights.
    untrained_classifier : callable or None
        ``untrained_classifier(record)`` returns the whole network, untrained.
    """

    build: Callable[[Backbone, int], keras.Model]
    scale: Callable[[Backbone, keras.KerasTensor], keras.KerasTensor]
    # Any where there is None: `build.build` refuses what has no published weights before it calls them.
    published: Callable[[Backbone, int], keras.Model] | Any = None
    classifier: Callable[[Backbone], keras.Model] | Any = None
    untrained_classifier: Callable[[Backbone], keras.Model] | Any = None


def _keras_application(record: Backbone, image_size: int, **options: Any) -> keras.Model:
    constructor = getattr(keras.applications, record.name.partition("_")[0])
    if record.alpha is not None:
        options["alpha"] = record.alpha
    model = constructor(input_shape=(image_size, image_size, 3), **options)
    # Not as an argument: some networks derive the names of their layers from it.
    model.name = record.name
    return number_names(model)


def _keras_network(record: Backbone, image_size: int, include_top: bool = False) -> keras.Model:
    return _keras_application(record, image_size, weights=None, include_top=include_top)


def _keras_published(record: Backbone, image_size: int, include_top: bool = False) -> keras.Model:
    with _one_line(record):
        return _keras_application(record, image_size, weights="imagenet", include_top=include_top)


@contextmanager
def _one_line(record: Backbone) -> Iterator[None]:
    """Turn whatever can go wrong with weights that Keras fetches into one line."""
    try:
        with limited():
            yield
    # keras.utils.get_file raises a plain Exception where a download fails; a connection that breaks, a checksum that
    # differs, a full disk and a damaged file in Keras's own folder raise others.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        folder = os.path.join(os.environ.get("KERAS_HOME", "~/.keras"), "models")
        raise GraftError(
            f"backbone: the weights of {record.name} could not be fetched or read ({reason}); connect to the network, "
            f"delete a damaged file in {folder}, or give a local file as `weights`"
        ) from error


def _efficientnet(record: Backbone, image_size: int, include_top: bool = False) -> keras.Model:
    """Build EfficientNet with the layer that Keras adds for ImageNet weights: any weights then have the same layers."""

    def call(layer: keras.Layer, *tensors: keras.KerasTensor, **options: Any) -> keras.KerasTensor:
        output = layer(*tensors, **options)
        if isinstance(layer, keras.layers.Normalization):
            output = keras.layers.Rescaling(EFFICIENTNET_SCALES, name="rescaling_1")(output)
        return output

    network = _keras_network(record, image_size, include_top)
    return number_names(keras.models.clone_model(network, call_function=call))


def _lite_network(record: Backbone, image_size: int) -> keras.Model:
    return efficientnet_lite.build_efficientnet_lite(record.name, image_size)


def _lite_published(record: Backbone, image_size: int) -> keras.Model:
    model = _lite_network(record, image_size)
    efficientnet_lite.load_imagenet_weights(model)
    return model


def _resnext(record: Backbone, image_size: int, include_top: bool = False) -> keras.Model:
    return number_names(resnext.build_resnext(record.name, image_size, include_top))


def _resnext_published(record: Backbone, image_size: int, include_top: bool = False) -> keras.Model:
    model = _resnext(record, image_size, include_top)
    with _one_line(record):
        load_weights(model, resnext.weights_file(record.name, include_top), "with" if include_top else "without")
    return model


def _resnext_classifier(record: Backbone) -> keras.Model:
    return _resnext_published(record, record.image_size, include_top=True)


def _untrained_resnext_classifier(record: Backbone) -> keras.Model:
    return _resnext(record, record.image_size, include_top=True)


def _side_by_side(record: Backbone, image_size: int) -> keras.Model:
    return _beside(record, image_size, [family_of(part).build(part, image_size) for part in record.parts])


def _side_by_side_published(record: Backbone, image_size: int) -> keras.Model:
    return _beside(record, image_size, [family_of(part).published(part, image_size) for part in record.parts])


class _Whole(keras.layers.Wrapper):
    """A network as one layer: no cut lies inside it, and none of its layers is trained."""

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        return self.layer(images, training=False)


def _beside(record: Backbone, image_size: int, networks: list[keras.Model]) -> keras.Model:
    """Return one network from images, values 0 to 255, to the features of several: a map of one place.

    The features of each network have length 1, so that none counts for more than another.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    features = []
    for number, (part, network) in enumerate(zip(record.parts, networks, strict=True)):
        x = _Whole(network, name=part.name)(family_of(part).scale(part, images))
        x = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"average_{number}")(x)
        features.append(keras.layers.UnitNormalization(name=f"unit_length_{number}")(x))
    outputs = keras.layers.Concatenate(name="side_by_side")(features)
    return number_names(keras.Model(images, outputs, name="_".join(part.name for part in record.parts)))


def _unscaled(record: Backbone, images: keras.KerasTensor) -> keras.KerasTensor:
    return images


def _simple_cnn(record: Backbone, image_size: int) -> keras.Model:
    """Build three convolutions of 32 filters, each with ReLU and max pooling, to be trained from scratch.

    It is the network of TensorFlow's tutorial on images (tensorflow.org/tutorials/load_data/images) without its dense
    layers, which belong to the head.
    """
    x = images = keras.Input((image_size, image_size, 3), name="images")
    for number in (1, 2, 3):
        x = keras.layers.Conv2D(32, 3, activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{number}")(x)
    return keras.Model(images, x, name=record.name)


def _keras_classifier(record: Backbone) -> keras.Model:
    return _keras_published(record, record.image_size, include_top=True)


def _untrained_keras_classifier(record: Backbone) -> keras.Model:
    return _keras_network(record, record.image_size, include_top=True)


def _untrained_efficientnet_classifier(record: Backbone) -> keras.Model:
    return _efficientnet(record, record.image_size, include_top=True)


def _keras_scaling(record: Backbone, images: keras.KerasTensor) -> keras.KerasTensor:
    return getattr(keras.applications, record.module).preprocess_input(images)


def _lite_classifier(record: Backbone) -> keras.Model:
    return efficientnet_lite.build_imagenet_classifier(record.name, record.image_size)


def _untrained_lite_classifier(record: Backbone) -> keras.Model:
    return efficientnet_lite.build_classifier(record.name, record.image_size)


def _lite_scaling(record: Backbone, images: keras.KerasTensor) -> keras.KerasTensor:
    return (images - 127.0) / 128.0


def _resnext_scaling(record: Backbone, images: keras.KerasTensor) -> keras.KerasTensor:
    return keras.applications.imagenet_utils.preprocess_input(images, mode="torch")


def _unit_scaling(record: Backbone, images: keras.KerasTensor) -> keras.KerasTensor:
    return images / 255.0


KERAS = Family(_keras_network, _keras_scaling, _keras_published, _keras_classifier, _untrained_keras_classifier)
FAMILIES = {
    "efficientnet": Family(
        _efficientnet, _keras_scaling, _keras_published, _keras_classifier, _untrained_efficientnet_classifier
    ),
    "efficientnet_lite": Family(
        _lite_network, _lite_scaling, _lite_published, _lite_classifier, _untrained_lite_classifier
    ),
    "resnext": Family(
        _resnext, _resnext_scaling, _resnext_published, _resnext_classifier, _untrained_resnext_classifier
    ),
    # Each network scales its images itself.
    "side_by_side": Family(_side_by_side, _unscaled, _side_by_side_published),
    "simple_cnn": Family(_simple_cnn, _unit_scaling),
}


def family_of(record: Backbone) -> Family:
    """Return the family of a backbone: that of its module, or else the one of all networks of keras.applications."""
    return FAMILIES.get(record.module, KERAS)
