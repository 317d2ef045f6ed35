"""The table of backbones: the names that `backbone` in params.yaml can have.

It does not import Keras: the settings are read before Keras, and quickly.
"""

from dataclasses import dataclass

from graft.core.errors import GraftError, nearest

# `hub/PRESET` is a vision model of KerasHub: `graft.backbone.hub` knows them, not this table.
HUB = "hub/"


@dataclass(frozen=True)
class Backbone:
    """One network.

    Attributes
    ----------
    name : its name in params.yaml.
    image_size : default height and width of an image, in pixels: those that the published weights were trained with.
    module : of `keras.applications`, with the function that builds the network and the one that scales its input; or of
        `graft.backbone`.
    top_1, top_5 : published ImageNet validation accuracy of the weights, in per cent; None if none is published.
    minimum_size : the smallest height and width that it takes, in pixels.
    alpha : the width multiplier, if it differs from that of the name without its suffix.
    parts : the networks whose features stand side by side; none for a single network.
    """

    name: str
    image_size: int
    module: str
    top_1: float | None = None
    top_5: float | None = None
    minimum_size: int = 32
    alpha: float | None = None
    parts: tuple["Backbone", ...] = ()

    @property
    def published(self) -> bool:
        """Whether there are ImageNet weights for it."""
        return all(part.published for part in self.parts) if self.parts else self.top_1 is not None


# Sources of the accuracies: keras.io/api/applications; for MobileNetV3, the table in its docstring in Keras; for
# MobileNetV2 of other widths (alpha), tensorflow/models, research/slim/nets/mobilenet/README.md; for EfficientNetLite,
# tensorflow/tpu, models/official/efficientnet/lite/README.md; for ResNeXt, keras-team/keras-applications, README.md.
RECORDS = (
    Backbone("EfficientNetLite0", 224, "efficientnet_lite", 75.1, None),
    Backbone("EfficientNetLite1", 240, "efficientnet_lite", 76.7, None),
    Backbone("EfficientNetLite2", 260, "efficientnet_lite", 77.6, None),
    Backbone("MobileNetV2", 224, "mobilenet_v2", 71.3, 90.1),
    Backbone("MobileNetV2_035", 224, "mobilenet_v2", 60.3, 82.9, alpha=0.35),
    Backbone("MobileNetV2_050", 224, "mobilenet_v2", 65.4, 86.4, alpha=0.5),
    Backbone("MobileNetV2_075", 224, "mobilenet_v2", 69.8, 89.6, alpha=0.75),
    Backbone("MobileNetV2_130", 224, "mobilenet_v2", 74.4, 92.1, alpha=1.3),
    Backbone("MobileNetV2_140", 224, "mobilenet_v2", 75.0, 92.5, alpha=1.4),
    Backbone("ConvNeXtTiny", 224, "convnext", 81.3),
    Backbone("ConvNeXtSmall", 224, "convnext", 82.3),
    Backbone("ConvNeXtBase", 224, "convnext", 85.3),
    Backbone("ConvNeXtLarge", 224, "convnext", 86.3),
    Backbone("ConvNeXtXLarge", 224, "convnext", 86.7),
    Backbone("DenseNet121", 224, "densenet", 75.0, 92.3),
    Backbone("DenseNet169", 224, "densenet", 76.2, 93.2),
    Backbone("DenseNet201", 224, "densenet", 77.3, 93.6),
    Backbone("EfficientNetB0", 224, "efficientnet", 77.1, 93.3),
    Backbone("EfficientNetB1", 240, "efficientnet", 79.1, 94.4),
    Backbone("EfficientNetB2", 260, "efficientnet", 80.1, 94.9),
    Backbone("EfficientNetB3", 300, "efficientnet", 81.6, 95.7),
    Backbone("EfficientNetB4", 380, "efficientnet", 82.9, 96.4),
    Backbone("EfficientNetB5", 456, "efficientnet", 83.6, 96.7),
    Backbone("EfficientNetB6", 528, "efficientnet", 84.0, 96.8),
    Backbone("EfficientNetB7", 600, "efficientnet", 84.3, 97.0),
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
    Backbone("ResNeXt50", 224, "resnext", 77.7, 93.8),
    Backbone("ResNeXt101", 224, "resnext", 78.7, 94.3),
    Backbone("VGG16", 224, "vgg16", 71.3, 90.1),
    Backbone("VGG19", 224, "vgg19", 71.3, 90.0),
    Backbone("Xception", 299, "xception", 79.0, 94.5, 71),
    Backbone("simple_cnn", 180, "simple_cnn", minimum_size=22),
)
BY_NAME = {record.name: record for record in RECORDS}
NAMES = tuple(BY_NAME)


# Between the names of networks whose features stand side by side.
BESIDE = "+"


def is_hub(name: str) -> bool:
    """Return whether a backbone is one of KerasHub."""
    return name.startswith(HUB)


def get(name: str) -> Backbone:
    """Return the backbone of that name, or of several names with `BESIDE` between them.

    Raises
    ------
    GraftError
        If there is none, as for those of KerasHub; the message has the nearest names.
    """
    if is_hub(name):
        raise GraftError(f"backbone: {name} is a model of KerasHub; this works with a name of docs/backbones.md alone")
    if BESIDE in name:
        parts = tuple(map(get, name.split(BESIDE)))
        sizes = (max(part.image_size for part in parts), max(part.minimum_size for part in parts))
        return Backbone(name, sizes[0], "side_by_side", minimum_size=sizes[1], parts=parts)
    if name not in BY_NAME:
        raise GraftError(f"backbone: {name!r} is not known; {nearest(name, NAMES)}")
    return BY_NAME[name]
