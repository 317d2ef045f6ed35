"""Stage export: the classifier as one file, from an image's pixels to probabilities, and the names of its classes."""

import sys
from collections.abc import Mapping, Sequence
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


class Candidate(NamedTuple):
    """What could be exported: a network, labels.json, and the figures of both on the validation part."""

    backbone: graft.Backbone
    upper: keras.Model
    description: dict[str, object]
    figures: dict[str, float]


def chosen(setting: str, head: dict[str, float], fine_tuned: dict[str, float]) -> str:
    """Return which model to export, fine_tuned or head: `setting`, or by it what does better on the validation part.

    The lower loss decides, as for `share` and `scale`: on a few dozen images it says more than how many were right.
    Both are judged by one square of the size of training; only the one chosen is built for other sizes. On equal
    figures the head alone stays.

    Parameters
    ----------
    setting : best_on_validation, fine_tuned or head.
    head, fine_tuned : their figures on the validation part, with the loss of calibrated probabilities.
    """
    if setting != "best_on_validation":
        return setting
    return "fine_tuned" if fine_tuned["loss"] < head["loss"] else "head"


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


def calibrate(backbone: graft.Backbone, upper: keras.Model, description: dict[str, object]) -> dict[str, float]:
    """Set the network to the temperature that suits the validation part; return the exported figures there."""
    rows = [row for row in read_rows(SPLIT) if row["split"] == "validation"]
    labels = np.array([description["labels"].index(row["label"]) for row in rows])
    logits = logits_of_squares(graft.classifier(backbone, upper), description, [RAW / row["path"] for row in rows])
    temperature = heads.fit_temperature(logits, labels)
    graft.set_temperature(upper, temperature)
    return scores.choice(heads.probabilities(logits / temperature).mean(axis=1), labels)


def scales(parameters: params.Parameters) -> Sequence[float]:
    """Return the scales of which that with the lowest loss on the validation part is exported."""
    if parameters.export.scale != "auto":
        return [parameters.export.scale]
    return SCALES if parameters.can_be_enlarged else [1]


def main() -> None:
    parameters = params.load()
    head_figures = read_json(METRICS / "head.json")["head_validation"]
    fine_tuned_figures = read_json(METRICS / "fine_tune.json")["fine_tuned_validation"]
    model = chosen(parameters.export.model, head_figures, fine_tuned_figures)
    head = heads.read(HEAD)
    described = read_json(BACKBONE / "backbone.json")
    names = sorted({row["label"] for row in read_rows(SPLIT)})
    candidates = []
    for scale in scales(parameters):
        size = round(scale * described["image_size"])
        backbone = graft.frozen_backbone(BACKBONE, size)
        upper = upper_network(backbone, head, model)
        description = {"labels": names, "image_size": size, "resize": described["resize"]}
        description["squares"] = parameters.export.squares
        with hidden():
            figures = calibrate(backbone, upper, description)
        candidates.append(Candidate(backbone, upper, description, figures))
    best = min(candidates, key=lambda candidate: candidate.figures["loss"])
    called = display_names(parameters.display_names, names)
    with hidden(), replacing(NETWORK) as path:
        path.write_bytes(graft.classifier(best.backbone, best.upper))
    write_json(DESCRIPTION, best.description | ({"display_names": called} if called else {}))
    write_json(
        METRICS / "export.json",
        {
            "exported": model,
            "image_size": best.description["image_size"],
            "cut": described["cut"]["after"],
            "exported_validation": best.figures,
        },
    )
    print(
        f"{model} exported; on validation, by one square, the head alone has {head_figures['accuracy']:.4f}, "
        f"loss {head_figures['loss']:.4f}, fine-tuned {fine_tuned_figures['accuracy']:.4f}, "
        f"loss {fine_tuned_figures['loss']:.4f}"
    )
    losses = (f"{each.figures['loss']:.4f} at {each.description['image_size']}" for each in candidates)
    print(f"exported for {best.description['image_size']} pixels a side; its loss on validation {', '.join(losses)}")


if __name__ == "__main__":
    run(main)
