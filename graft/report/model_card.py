"""The model card: what the classifier is for, how good it is and where it ends, from what the stages have written.

The front matter has the keys that Hugging Face's hub reads. Nothing here depends on the time or the commit.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from graft.settings import datasets

TEMPLATES = Path(__file__).with_name("templates")
# The whole list is in labels.json.
MOST_CLASSES = 40
# A class with fewer test images, and a validation part with fewer images, are named among the limits.
FEW_TEST_IMAGES, FEW_VALIDATION_IMAGES = 30, 100
PURPOSES = {
    "train": "training",
    "validation": "choosing the model, its image size and its temperature",
    "test": "the figures of this card",
}
SAME_SOURCE = (
    "The test images come from the same source as the training images. Images of another camera, place or time were "
    "not tested, and may be recognised less often."
)
FIGURES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Facts:
    """What a card is made of.

    Attributes
    ----------
    dataset : of params.yaml.
    own_parts : whether the data set comes with its own test part.
    labels, accuracy, per_class, export, head, data, backbone : the content of these JSON files.
    weights : imagenet, none, or "file".
    files : bytes and a description of each file beside the card, by name.
    unknown, formats : the content of these JSON files; empty where the stages wrote none.
    """

    dataset: str
    own_parts: bool
    labels: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    per_class: Sequence[Mapping[str, Any]]
    export: Mapping[str, Any]
    head: Mapping[str, Any]
    data: Mapping[str, Any]
    backbone: Mapping[str, Any]
    weights: str
    files: Mapping[str, tuple[int, str]]
    unknown: Mapping[str, Any] = field(default_factory=dict)
    formats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def model_card(facts: Facts) -> str:
    """Return the card as Markdown with its front matter."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    body = environment.get_template("model_card.md").render(_content(facts))
    front = yaml.safe_dump(front_matter(facts), allow_unicode=True, sort_keys=False, width=120)
    # The parts that are left out leave empty lines, and Jinja takes those behind its own marks.
    return f"---\n{front}---\n\n" + re.sub(r"\n{3,}", "\n\n", re.sub(r"\n(#+ )", r"\n\n\1", body))


def data_set_name(dataset: str) -> str:
    """Return the name of a data set: that of the catalog, or the last part of the path or address, without suffix."""
    name = dataset.rstrip("/").rsplit("/", 1)[-1] or dataset
    suffix = next((end for end in datasets.ARCHIVE_SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)] or name


def front_matter(facts: Facts) -> dict[str, Any]:
    """Return the front matter: licence, library, task, tags, metrics and results."""
    name = data_set_name(facts.dataset)
    accuracy = facts.accuracy
    values = {"accuracy": accuracy["accuracy"], "f1": accuracy["macro_f1"]}
    results = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"name": name, "type": name, "split": "test"},
        "metrics": [
            {"type": "accuracy", "value": round(values["accuracy"], 4), "name": "Accuracy"},
            {"type": "f1", "value": round(values["f1"], 4), "name": "Macro F1"},
        ],
    }
    return {
        # Not one of the hub's licences: the user has not chosen one.
        "license": "other",
        "license_name": "not-chosen",
        "library_name": "litert",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "litert", "tflite", "transfer-learning", "graft"],
        "metrics": list(values),
        "model-index": [{"name": _model_name(facts), "results": [results]}],
    }


def _model_name(facts: Facts) -> str:
    return f"{data_set_name(facts.dataset)}-{facts.backbone['backbone']}"


def _content(facts: Facts) -> dict[str, Any]:
    """Return the values of the template by name."""
    names = [_name(label, facts.labels) for label in facts.labels["labels"]]
    shown = ", ".join(names[:MOST_CLASSES])
    more = f" and {len(names) - MOST_CLASSES} more, see `labels.json`" if len(names) > MOST_CLASSES else ""
    return {
        "name": _plain(_model_name(facts)),
        "purpose": f"An image classifier: it names the one of {len(names)} classes that an image shows.",
        "size": facts.labels["image_size"],
        "classes": f"{shown}{more}.",
        "data": _data(facts),
        "parts": [{"name": key, "images": facts.data[key], "purpose": text} for key, text in PURPOSES.items()],
        "division": "The data set has its own test part."
        if facts.own_parts
        else "The hash of an image decides its part.",
        "accuracy": facts.accuracy,
        "n": _number,
        "head_alone": _head_alone(facts),
        "per_class": [_row(row, facts.labels) for row in facts.per_class],
        "weakest": _weakest(facts),
        "calibration": _calibration(facts.accuracy),
        "prediction_sets": _prediction_sets(facts),
        "none_of_these": _none_of_these(facts.unknown.get("none_of_these", {})),
        "limits": _limits(facts),
        "files": [{"name": f"`{key}`", "bytes": size, "about": about} for key, (size, about) in facts.files.items()],
        "formats": [_format(name, row) for name, row in facts.formats.items()],
        "licences": _licences(facts),
        "training": _training(facts),
    }


def _plain(text: str) -> str:
    """Return a text of the user's that Markdown shows as it is, on one line, in a table too."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _name(label: str, labels: Mapping[str, Any]) -> str:
    display = labels.get("display_names", {}).get(label)
    return f"{_plain(label)} ({_plain(display)})" if display else _plain(label)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _span(row: Mapping[str, Any], key: str) -> str:
    if row[key] is None:
        return "none"
    return f"{_number(row[key])} ({_number(row[f'{key}_low'])} to {_number(row[f'{key}_high'])})"


def _row(row: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    spans = {key: _span(row, key) for key in FIGURES}
    return {"name": _name(row["class"], labels), "images": row["images"], **spans}


def _data(facts: Facts) -> str:
    text = f"{facts.data['images']} images of the data set {_plain(data_set_name(facts.dataset))}"
    counts = f"the smallest class has {facts.data['smallest_class']}, the largest {facts.data['largest_class']}"
    return f"{text}; {counts}."


def _head_alone(facts: Facts) -> str:
    alone = f"The head alone, on the frozen backbone, reaches an accuracy of {_number(facts.head['head']['accuracy'])}."
    kind = "the head alone" if facts.export["exported"] == "head" else "the fine-tuned network"
    return f"{alone} Exported: {kind}, because of its loss on the validation part or by the setting `export.model`."


def _weakest(facts: Facts) -> str:
    rows = [row for row in facts.per_class if row["recall"] is not None]
    weakest = min(rows, key=lambda row: row["recall"])
    if weakest["recall"] == 1:
        return "Every image of every class is right."
    return f"Least often right: {_name(weakest['class'], facts.labels)}, {_number(weakest['recall'])}."


def _calibration(accuracy: Mapping[str, Any]) -> str:
    error = accuracy["expected_calibration_error"]
    return (
        "The probabilities are calibrated by one temperature, which was fitted on the validation part: of the answers "
        f"with 0.8, about 80 % should be right. On the test images the mean distance from that is {error:.3f}."
    )


def _prediction_sets(facts: Facts) -> str:
    setting, found = facts.labels.get("prediction_set"), facts.unknown.get("prediction_sets")
    if not setting or not found:
        return ""
    return (
        f"With a class for each probability of at least {setting['least_probability']:.4f}, and always the likeliest, "
        f"a set should hold the right class for {setting['coverage']:.0%} of the images. On the test images it does "
        f"for {found['coverage']:.1%} ({found['coverage_low']:.1%} to {found['coverage_high']:.1%}); a set has "
        f"{found['mean_size']:.2f} classes in the mean."
    )


def _none_of_these(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    return (
        "A second output is above 0.5 for an image that is probably of none of the classes. It accepts "
        f"{found['accepted']:.1%} of the test images and refuses {found['generated_refused']:.1%} of "
        f"{found['generated_images']} generated pictures. It often misses things that resemble the classes."
    )


def _limits(facts: Facts) -> list[str]:
    suspects = f"{facts.data['suspects']} of them look wrong to the data check." if facts.data["suspects"] else ""
    few = [_name(row["class"], facts.labels) for row in facts.per_class if row["images"] < FEW_TEST_IMAGES]
    limits = [
        SAME_SOURCE,
        "The probabilities name one of the classes for every image, also for one that shows none of them or several.",
        f"Training takes the labels as they are. {suspects}".rstrip(),
    ]
    if few:
        named = ", ".join(few[:MOST_CLASSES]) + (", ..." if len(few) > MOST_CLASSES else "")
        limits.append(
            f"Fewer than {FEW_TEST_IMAGES} test images, so that the figures of the class say little: {named}."
        )
    if facts.data["validation"] < FEW_VALIDATION_IMAGES:
        limits.append(
            f"Only {facts.data['validation']} validation images chose the model and its temperature: the choice and "
            "the calibration are uncertain."
        )
    if facts.labels["resize"] != "squash":
        limits.append(
            f"An image that is not square becomes square by `resize: {facts.labels['resize']}`. A program that "
            "stretches it instead gets other probabilities."
        )
    return limits


def _format(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "bytes": row["bytes"],
        "accuracy": _number(row["accuracy"]),
        "agreement": f"{row['agreement']:.1%}",
        "difference": f"{row['largest_difference']:.2g}",
    }


def _licences(facts: Facts) -> dict[str, str]:
    licence = datasets.entry_or_default(facts.dataset).licence
    weights = {
        "none": "none were used.",
        "file": "a file of your own; ask where it comes from.",
        "imagenet": f"those of {facts.backbone['backbone']}, trained on ImageNet; docs/licences.md of Graft has more.",
    }
    return {
        "images": f"{licence}." if licence else "yours: Graft knows none for this data set.",
        "weights": weights[facts.weights],
    }


def _training(facts: Facts) -> str:
    start = {"none": "random weights", "file": "weights of a file", "imagenet": "ImageNet weights"}[facts.weights]
    return (
        f"{facts.backbone['backbone']} with {start}, a new head, then fine-tuning of the layers above "
        f"`{facts.export['cut']}`."
        if facts.export["exported"] == "fine_tuned"
        else f"{facts.backbone['backbone']} with {start}, frozen, and a new head."
    )
