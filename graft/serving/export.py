"""The models that could be exported, at each image size, calibrated and evaluated on the validation part."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from graft.backbone.frozen import Backbone, frozen_backbone
from graft.core import paths
from graft.core.errors import nearest
from graft.core.files import read_json
from graft.heads.attach import attach_head, compile_classifier, compile_together, set_temperature, trainable_network
from graft.heads.head import Head
from graft.images.table import ImageTable
from graft.scores import metrics
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax
from graft.serving.none_of_these import Limits, Measured, limits, measure
from graft.settings import params

# `export.test_resolution: auto` chooses one of these by the validation loss.
SCALES = (1, 8 / 7)
# With fewer validation images it takes 1: 17 images chose the wrong scale, 37 the right one (docs/accuracy.md).
ENOUGH_FOR_SCALES = 100


class Candidate(NamedTuple):
    """A model that could be exported.

    Attributes
    ----------
    model : head or fine_tuned.
    backbone : the frozen backbone at this image size.
    upper : the network above the cut, calibrated.
    temperature : that calibrated it.
    measured : what it gave for the validation part before that.
    description : the content of models/labels.json, without display names.
    figures : accuracy and loss on the validation part, `metrics.accuracy_and_loss`.
    """

    model: str
    backbone: Backbone
    upper: keras.Model
    temperature: float
    measured: Measured
    description: dict[str, Any]
    figures: dict[str, float]

    def __str__(self) -> str:
        return f"{self.model} at {self.description['image_size']} pixels"

    def limits(self, table: ImageTable, coverage: float) -> Limits:
        """Return what the validation part says of this model's limits; `coverage` is `predict.coverage`."""
        return limits(self.measured, self.temperature, table.part("validation").labels, coverage)

    def compiled(self, limits: Limits, prepare: Callable[[Any], None] | None = None) -> bytes:
        """Return the bytes of the compiled network, with "none of these" as second output where `limits` has it.

        `prepare` is as in `compile_network`.
        """
        return compile_classifier(self.backbone, self.upper, limits.second_output, prepare)


def candidates(parameters: params.Parameters, head: Head, table: ImageTable) -> Iterator[Candidate]:
    """Yield each model at each image size that the parameters allow, calibrated on the validation part.

    Parameters
    ----------
    parameters : `export` and `fine_tune.epochs` are used.
    head : of the stage train_head.
    table : all images.
    """
    backbone_description = read_json(paths.BACKBONE_DESCRIPTION)
    validation = table.part("validation")
    free = params.can_be_enlarged(backbone_description["pooling"], backbone_description["resize"])
    chosen = scales(parameters.export.test_resolution, free, len(validation))
    for size in image_sizes(chosen, backbone_description["image_size"], backbone_description.get("multiple_of", 1)):
        backbone = frozen_backbone(size)
        description = {
            "labels": list(table.classes),
            "image_size": size,
            "resize": backbone_description["resize"],
            "crops": parameters.export.crops,
            "max_pixels": parameters.limits.pixels,
        }
        names = models(parameters.export.model, parameters.fine_tune.epochs)
        uppers = [_upper_network(backbone, head, model) for model in names]
        # Together, because an image is then decoded and goes through the trunk once.
        found = measure(compile_together(backbone, uppers), description, table)
        for model, upper, measured in zip(names, uppers, found, strict=True):
            temperature = fit_temperature(measured.logits, validation.labels)
            set_temperature(upper, temperature)
            probabilities = softmax(measured.logits / temperature).mean(axis=1)
            figures = metrics.accuracy_and_loss(probabilities, validation.labels)
            yield Candidate(model, backbone, upper, temperature, measured, description, figures)


def models(setting: str, epochs: int | str) -> Sequence[str]:
    """Return the models to choose from: head, fine_tuned or both. Without fine-tuning, it is the head.

    Parameters
    ----------
    setting : `export.model` of params.yaml.
    epochs : `fine_tune.epochs` of params.yaml.
    """
    if setting != "best_on_validation":
        return [setting]
    return ["head", "fine_tuned"] if epochs else ["head"]


def scales(setting: float | str, free: bool, validation_images: int) -> Sequence[float]:
    """Return the scales to choose from: pixels per side of the exported network's images, for each one in training.

    Parameters
    ----------
    setting : `export.test_resolution` of params.yaml.
    free : whether the network accepts larger images than in training, see `params.can_be_enlarged`.
    validation_images : number of images in the validation part.
    """
    if setting != "auto":
        return [float(setting)]
    return SCALES if free and validation_images >= ENOUGH_FOR_SCALES else [1]


def image_sizes(scales: Sequence[float], trained: int, multiple: int) -> list[int]:
    """Return the image size at each scale, each once.

    Parameters
    ----------
    scales : as `scales` returns them.
    trained : the image size in training, in pixels.
    multiple : the network takes only multiples of this size; a size between two of them becomes the smaller one.
    """
    return list(dict.fromkeys(round(scale * trained) // multiple * multiple for scale in scales))


def unknown_display_names(setting: Mapping[str, str] | None, labels: Sequence[str]) -> list[str]:
    """Return the names in `display_names` that no class has."""
    return [label for label in setting or {} if label not in labels]


def display_names(setting: Mapping[str, str] | None, labels: Sequence[str]) -> dict[str, str]:
    """Return the display name of each label that has one; warn of a name for an unknown label and leave it out."""
    setting = setting or {}
    for label in unknown_display_names(setting, labels):
        print(f"warning: display_names: no class is called {label!r}; {nearest(label, labels)}", file=sys.stderr)
    return {label: setting[label] for label in labels if label in setting}


def _upper_network(backbone: Backbone, head: Head, model: str) -> keras.Model:
    """Return the network above the cut, from feature maps to logits, of the model head or fine_tuned."""
    if model == "head":
        return attach_head(backbone.cut.top, backbone.pooling, head)
    upper = trainable_network(backbone, head)
    upper.load_weights(paths.FINE_TUNED)
    return upper
