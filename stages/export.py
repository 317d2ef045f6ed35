"""Stage export: the classifier as one file, from an image's pixels to probabilities, and the names of its classes."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from stages.parts import heads, params, scores
from stages.parts.classifier import Classifier
from stages.parts.errors import nearest, run
from stages.parts.files import read_json, read_rows, replacing, write_json
from stages.parts.native_output import hidden, importing
from stages.parts.threads import in_order

with importing():
    import keras

    from stages.parts import graft

SPLIT = Path("data/split.csv")
RAW = Path("data/raw")
BACKBONE = Path("data/backbone")
HEAD = Path("models/head.npz")
FINE_TUNED = Path("models/fine_tuned.weights.h5")
NETWORK = Path("models/classifier.tflite")
DESCRIPTION = Path("models/labels.json")
METRICS = Path("metrics")
# How much larger than in training the images may be that the exported network sees, where the validation part says it.
SCALES = (1, 8 / 7)
# Fewer validation images choose no size: 17 chose the wrong one, 37 the right one (docs/accuracy.md).
ENOUGH_FOR_SCALES = 100


class Candidate(NamedTuple):
    """What could be exported: a model, its network, labels.json, and the figures of the file on the validation part."""

    model: str
    backbone: graft.Backbone
    upper: keras.Model
    description: dict[str, object]
    figures: dict[str, float]

    def __str__(self) -> str:
        return f"{self.model} at {self.description['image_size']} pixels"


def models(parameters: params.Parameters) -> Sequence[str]:
    """Return the models of which one is exported, by `export.model`; where nothing was fine-tuned, that is the head."""
    if parameters.export.model != "best_on_validation":
        return [parameters.export.model]
    return ["head", "fine_tuned"] if parameters.fine_tune.epochs else ["head"]


def display_names(setting: Mapping[str, str] | None, labels: list[str]) -> dict[str, str]:
    """Return what the classes are to be called, by label; of a name for a class that there is not, a line tells."""
    setting = setting or {}
    for label in setting:
        if label not in labels:
            print(f"warning: display_names: no class is called {label!r}; {nearest(label, labels)}", file=sys.stderr)
    return {label: setting[label] for label in labels if label in setting}


def upper_network(backbone: graft.Backbone, head: heads.Head, model: str) -> keras.Model:
    """Return what follows the cut in that model, head or fine_tuned: maps to logits."""
    if model == "head":
        return graft.grafted(backbone.cut.top, backbone.pooling, head)
    upper = graft.trainable(backbone, head)
    upper.load_weights(FINE_TUNED)
    return upper


def logits_of_squares(network: bytes, description: dict[str, object], images: Sequence[Path]) -> np.ndarray:
    """Return what an exported classifier gives for images: float32 array (images, squares, classes).

    The logarithms of its probabilities. An image of one square has it as many times as others have squares.
    """
    with TemporaryDirectory() as folder:
        files = Path(folder, NETWORK.name), Path(folder, DESCRIPTION.name)
        files[0].write_bytes(network)
        write_json(files[1], description)
        classifier = Classifier(*files)
        shape = (description["squares"], len(description["labels"]))
        results = [np.broadcast_to(found, shape) for found in in_order(classifier.of_squares, images)]
    return np.log(np.maximum(np.stack(results), np.finfo(np.float32).tiny))


def calibrate(
    backbone: graft.Backbone, upper: keras.Model, description: dict[str, object], validation: Sequence[dict[str, str]]
) -> dict[str, float]:
    """Set the network to the temperature that suits the validation part, rows of SPLIT; return the figures there."""
    labels = np.array([description["labels"].index(row["label"]) for row in validation])
    images = [RAW / row["path"] for row in validation]
    logits = logits_of_squares(graft.classifier(backbone, upper), description, images)
    temperature = heads.fit_temperature(logits, labels)
    graft.set_temperature(upper, temperature)
    return scores.choice(heads.probabilities(logits / temperature).mean(axis=1), labels)


def scales(parameters: params.Parameters, validation: int) -> Sequence[float]:
    """Return the scales of which one is exported, by `export.scale` and the number of validation images."""
    if parameters.export.scale != "auto":
        return [parameters.export.scale]
    return SCALES if parameters.can_be_enlarged and validation >= ENOUGH_FOR_SCALES else [1]


def candidates(parameters: params.Parameters) -> Iterator[Candidate]:
    """Yield each model at each scale that the parameters allow, calibrated, just as it would be exported."""
    head = heads.read(HEAD)
    described = read_json(BACKBONE / "backbone.json")
    rows = read_rows(SPLIT)
    names = sorted({row["label"] for row in rows})
    validation = [row for row in rows if row["split"] == "validation"]
    for scale in scales(parameters, len(validation)):
        size = round(scale * described["image_size"])
        backbone = graft.frozen_backbone(BACKBONE, size)
        description = {"labels": names, "image_size": size, "resize": described["resize"]}
        description["squares"] = parameters.export.squares
        for model in models(parameters):
            upper = upper_network(backbone, head, model)
            yield Candidate(model, backbone, upper, description, calibrate(backbone, upper, description, validation))


def main() -> None:
    parameters = params.load()
    with hidden():
        judged = list(candidates(parameters))
    best = min(judged, key=lambda candidate: candidate.figures["loss"])
    called = display_names(parameters.display_names, best.description["labels"])
    with hidden(), replacing(NETWORK) as path:
        path.write_bytes(graft.classifier(best.backbone, best.upper))
    write_json(DESCRIPTION, best.description | ({"display_names": called} if called else {}))
    write_json(
        METRICS / "export.json",
        {
            "exported": best.model,
            "image_size": best.description["image_size"],
            "cut": read_json(BACKBONE / "backbone.json")["cut"]["after"],
            "exported_validation": best.figures,
        },
    )
    losses = (f"{each} {each.figures['loss']:.4f}" for each in judged)
    print(f"exported: {best}; loss on the validation part: {', '.join(losses)}")


if __name__ == "__main__":
    run(main)
