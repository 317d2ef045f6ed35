"""How `graft predict` prints what it finds on an image: as text, JSON or CSV."""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graft.core.errors import one_line
from graft.serving.classifier import Prediction

NONE_OF_THESE = "none of these"
CSV_COLUMNS = ("path", "rank", "label", "name", "probability", "in_set", "none_of_these")


class ImageClassifier(Protocol):
    """What is needed of a classifier; `classifier.Classifier` describes the members."""

    labels: list[str]
    names: list[str]
    coverage: float | None

    def predict(self, path: Path) -> Prediction: ...  # noqa: D102 - as said above


Show = Callable[[Path, Prediction], None]


def ranked(probabilities: np.ndarray, labels: Sequence[str], names: Sequence[str], top: int) -> list[dict[str, Any]]:
    """Return the `top` most probable classes, the most probable first, as {"label", "name", "probability"}."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {"label": labels[index], "name": names[index], "probability": round(float(probabilities[index]), 6)}
        for index in order
    ]


def set_names(prediction: Prediction, labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names of the classes in the prediction set; none where the model has no sets."""
    by_label = dict(zip(labels, names, strict=True))
    return [by_label[label] for label in prediction.prediction_set or []]


def as_text(prediction: Prediction, classifier: ImageClassifier, top: int) -> str:
    """Return one line, such as "roses 60.1%, tulips 38.0%; 95 % set: roses, tulips"."""
    classes = ranked(prediction.probabilities, classifier.labels, classifier.names, top)
    text = ", ".join(f"{one['name']} {one['probability']:.1%}" for one in classes)
    if prediction.is_unknown:
        text = f"{NONE_OF_THESE}; {text}"
    if names := set_names(prediction, classifier.labels, classifier.names):
        share = f"{classifier.coverage * 100:g} % " if classifier.coverage else ""
        text += f"; {share}set: {', '.join(names)}"
    return one_line(text)


def caption(prediction: Prediction, labels: Sequence[str], names: Sequence[str]) -> str:
    """Return two lines for a figure: the likeliest class with its probability, and what makes it unsure."""
    (first,) = ranked(prediction.probabilities, labels, names, 1)
    others = [name for name in set_names(prediction, labels, names) if name != first["name"]]
    unsure = NONE_OF_THESE if prediction.is_unknown else f"or {', '.join(others)}" if others else ""
    return f"{first['name']}, {first['probability']:.0%}\n{unsure}"


def text_lines(classifier: ImageClassifier, top: int) -> Show:
    """Return a function that prints a line for an image."""
    return lambda path, prediction: print(f"{one_line(path)}: {as_text(prediction, classifier, top)}")


def json_lines(classifier: ImageClassifier, top: int) -> Show:
    """Return a function that prints a JSON object for an image, in one line.

    Its keys: path; classes (as `ranked` returns them); prediction_set (labels), none_of_these (true or false) and
    known_score, each null where the model has no threshold for it.
    """

    def show(path: Path, prediction: Prediction) -> None:
        entry = {
            "path": str(path),
            "classes": ranked(prediction.probabilities, classifier.labels, classifier.names, top),
            "prediction_set": prediction.prediction_set,
            "none_of_these": None if prediction.is_unknown is None else bool(prediction.is_unknown),
            "known_score": None if prediction.known_score is None else round(float(prediction.known_score), 6),
        }
        print(json.dumps(entry))

    return show


def csv_lines(classifier: ImageClassifier, top: int) -> Show:
    """Print the header of `CSV_COLUMNS`, and return a function that prints `top` rows for an image, one a class.

    in_set and none_of_these are true or false, and empty where the model has no threshold for them.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)

    def show(path: Path, prediction: Prediction) -> None:
        chosen, unknown = prediction.prediction_set, _word(prediction.is_unknown)
        for rank, one in enumerate(ranked(prediction.probabilities, classifier.labels, classifier.names, top), 1):
            in_set = _word(None if chosen is None else one["label"] in chosen)
            writer.writerow([path, rank, one["label"], one["name"], f"{one['probability']:g}", in_set, unknown])

    return show


def _word(value: bool | None) -> str:
    return "" if value is None else str(bool(value)).lower()


FORMS = {"text": text_lines, "json": json_lines, "csv": csv_lines}
