"""Stage export: the classifier as one file, from an image's pixels to probabilities, and the names of its classes."""

import sys
from collections.abc import Mapping
from pathlib import Path

from stages.parts import heads, params
from stages.parts.errors import nearest, run
from stages.parts.files import read_json, read_rows, replacing, write_json
from stages.parts.native_output import hidden, importing

with importing():
    from stages.parts import graft

SPLIT = Path("data/split.csv")
BACKBONE = Path("data/backbone")
HEAD = Path("models/head.npz")
FINE_TUNED = Path("models/fine_tuned.weights.h5")
NETWORK = Path("models/classifier.tflite")
DESCRIPTION = Path("models/labels.json")
METRICS = Path("metrics")


def chosen(setting: str, head: dict[str, float], fine_tuned: dict[str, float]) -> str:
    """Return which model to export, fine_tuned or head: `setting`, or by it what does better on the validation part.

    The accuracy decides, then the lower loss; on equal figures the head alone stays.

    Parameters
    ----------
    setting : best_on_validation, fine_tuned or head.
    head, fine_tuned : their figures on the validation part, with accuracy and loss.
    """
    if setting != "best_on_validation":
        return setting
    better = (fine_tuned["accuracy"], -fine_tuned["loss"]) > (head["accuracy"], -head["loss"])
    return "fine_tuned" if better else "head"


def display_names(setting: Mapping[str, str] | None, labels: list[str]) -> dict[str, str]:
    """Return what the classes are to be called, by label; of a name for a class that there is not, a line tells."""
    setting = setting or {}
    for label in setting:
        if label not in labels:
            print(f"warning: display_names: no class is called {label!r}; {nearest(label, labels)}", file=sys.stderr)
    return {label: setting[label] for label in labels if label in setting}


def main() -> None:
    parameters = params.load()
    head_figures = read_json(METRICS / "head.json")["head_validation"]
    fine_tuned_figures = read_json(METRICS / "fine_tune.json")["fine_tuned_validation"]
    model = chosen(parameters.export.model, head_figures, fine_tuned_figures)
    backbone = graft.frozen_backbone(BACKBONE)
    head = heads.read(HEAD)
    upper = graft.grafted(backbone.cut.top, backbone.pooling, head)
    if model == "fine_tuned":
        upper = graft.trainable(backbone, head)
        upper.load_weights(FINE_TUNED)
    with hidden(), replacing(NETWORK) as path:
        path.write_bytes(graft.classifier(backbone, upper))
    described = read_json(BACKBONE / "backbone.json")
    names = sorted({row["label"] for row in read_rows(SPLIT)})
    description = {"labels": names, "image_size": described["image_size"], "resize": described["resize"]}
    description["squares"] = parameters.export.squares
    called = display_names(parameters.display_names, names)
    write_json(DESCRIPTION, description | ({"display_names": called} if called else {}))
    write_json(
        METRICS / "export.json",
        {"exported": model, "image_size": described["image_size"], "cut": described["cut"]["after"]},
    )
    print(
        f"{model} exported; on validation the head alone has {head_figures['accuracy']:.4f}, "
        f"loss {head_figures['loss']:.4f}, fine-tuned {fine_tuned_figures['accuracy']:.4f}, "
        f"loss {fine_tuned_figures['loss']:.4f}"
    )


if __name__ == "__main__":
    run(main)
