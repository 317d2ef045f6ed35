"""What could be exported: each model at each image size, calibrated and judged on the validation part."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import keras
import numpy as np

from graft.backbone.frozen import Backbone, frozen_backbone
from graft.core import paths
from graft.core.errors import nearest
from graft.core.files import read_json, write_bytes, write_json
from graft.core.threads import in_order
from graft.heads.attach import attach_head, compile_classifier, set_temperature, trainable_network
from graft.heads.head import Head
from graft.images.table import ImageTable
from graft.scores import metrics
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax
from graft.serving.classifier import Classifier
from graft.settings import params

# `export.test_resolution: auto` chooses from these by the validation loss.
SCALES = (1, 8 / 7)
# With fewer validation images it does not choose: 17 chose the wrong one, 37 the right one (docs/accuracy.md).
ENOUGH_FOR_SCALES = 100


class Candidate(NamedTuple):
    """A model that could be exported.

    Attributes
    ----------
    model : head or fine_tuned.
    backbone : the frozen one, at the candidate's image size.
    upper : the network above the cut, calibrated.
    description : what models/labels.json would say.
    figures : `metrics.choice` of the exported file on the validation part.
    """

    model: str
    backbone: Backbone
    upper: keras.Model
    description: dict[str, object]
    figures: dict[str, float]

    def __str__(self) -> str:
        return f"{self.model} at {self.description['image_size']} pixels"

    def compiled(self) -> bytes:
        """Return the exported file's bytes."""
        return compile_classifier(self.backbone, self.upper)


def candidates(parameters: params.Parameters, head: Head, table: ImageTable) -> Iterator[Candidate]:
    """Yield each model at each image size that the parameters allow, calibrated, as it would be exported.

    Parameters
    ----------
    parameters : of them `export`, and `fine_tune.epochs`.
    head : what train_head wrote.
    table : all images.
    """
    backbone_description = read_json(paths.BACKBONE_DESCRIPTION)
    validation = table.part("validation")
    free = params.can_be_enlarged(backbone_description["pooling"], backbone_description["resize"])
    for scale in scales(parameters.export.test_resolution, free, len(validation)):
        size = round(scale * backbone_description["image_size"])
        backbone = frozen_backbone(size)
        description = {
            "labels": list(table.classes),
            "image_size": size,
            "resize": backbone_description["resize"],
            "crops": parameters.export.crops,
        }
        for model in models(parameters.export.model, parameters.fine_tune.epochs):
            upper = _upper_network(backbone, head, model)
            figures = _calibrate(backbone, upper, description, validation)
            yield Candidate(model, backbone, upper, description, figures)


def models(setting: str, epochs: int | str) -> Sequence[str]:
    """Return the models of which one is exported; where nothing was fine-tuned, that is the head.

    Parameters
    ----------
    setting : `export.model` of params.yaml.
    epochs : `fine_tune.epochs`.
    """
    if setting != "best_on_validation":
        return [setting]
    return ["head", "fine_tuned"] if epochs else ["head"]


def scales(setting: float | str, free: bool, validation_images: int) -> Sequence[float]:
    """Return the scales of which one is exported.

    Parameters
    ----------
    setting : `export.test_resolution` of params.yaml.
    free : whether the network takes other sizes than it learnt from, as `params.can_be_enlarged` says.
    validation_images : how many there are to choose by.
    """
    if setting != "auto":
        return [setting]
    return SCALES if free and validation_images >= ENOUGH_FOR_SCALES else [1]


def display_names(setting: Mapping[str, str] | None, labels: Sequence[str]) -> dict[str, str]:
    """Return the names that people read, by label; a name for an unknown class is left out, with a warning."""
    setting = setting or {}
    for label in setting:
        if label not in labels:
            print(f"warning: display_names: no class is called {label!r}; {nearest(label, labels)}", file=sys.stderr)
    return {label: setting[label] for label in labels if label in setting}


def _upper_network(backbone: Backbone, head: Head, model: str) -> keras.Model:
    """Return the network above the cut of that model, head or fine_tuned: maps to logits."""
    if model == "head":
        return attach_head(backbone.cut.top, backbone.pooling, head)
    upper = trainable_network(backbone, head)
    upper.load_weights(paths.FINE_TUNED)
    return upper


def _calibrate(
    backbone: Backbone, upper: keras.Model, description: dict[str, object], validation: ImageTable
) -> dict[str, float]:
    """Set the network to the temperature that suits the validation part; return its figures there."""
    logits = _logits_of_squares(compile_classifier(backbone, upper), description, validation.files())
    temperature = fit_temperature(logits, validation.labels)
    set_temperature(upper, temperature)
    return metrics.choice(softmax(logits / temperature).mean(axis=1), validation.labels)


def _logits_of_squares(network: bytes, description: dict[str, object], images: Sequence[Path]) -> np.ndarray:
    """Return the logarithms of a classifier's probabilities: float32 array (images, squares, classes).

    An image of one square has it as many times as others have squares.
    """
    with TemporaryDirectory() as folder:
        files = Path(folder, paths.CLASSIFIER.name), Path(folder, paths.LABELS.name)
        write_bytes(files[0], network)
        write_json(files[1], description)
        classifier = Classifier(*files)
        shape = (description["crops"], len(description["labels"]))
        results = [np.broadcast_to(found, shape) for found in in_order(classifier.of_squares, images)]
    return np.log(np.maximum(np.stack(results), np.finfo(np.float32).tiny))
