"""Stage evaluate: judge the very file that is shipped, from image files of the test part to probabilities."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from stages.parts import figures, scores
from stages.parts.classifier import Classifier
from stages.parts.errors import run
from stages.parts.files import read_rows, write_json, write_rows
from stages.parts.lettering import lettered

SPLIT = Path("data/split.csv")
RAW = Path("data/raw")
NETWORK = Path("models/classifier.tflite")
DESCRIPTION = Path("models/labels.json")
METRICS = Path("metrics")


def prediction_rows(
    rows: list[dict[str, str]], probabilities: np.ndarray, names: list[str]
) -> Iterator[dict[str, str]]:
    """Yield a row of metrics/predictions.csv for each image; probabilities have six digits after the point."""
    for row, shares in zip(rows, probabilities, strict=True):
        columns = {f"p_{name}": f"{share:.6f}" for name, share in zip(names, shares, strict=True)}
        yield {"path": row["path"], "actual": row["label"], "predicted": names[int(shares.argmax())], **columns}


def draw(rows: list[dict[str, str]], probabilities: np.ndarray, matrix: np.ndarray, classifier: Classifier) -> None:
    """Draw metrics/plots: the confusion matrix, the mistakes, and some predictions."""
    paths = [RAW / row["path"] for row in rows]
    labels = np.array([classifier.labels.index(row["label"]) for row in rows])
    # Which images are shown is decided by their bytes, not by what was predicted of them.
    some = sorted(range(len(rows)), key=lambda row: rows[row]["sha256"])[: figures.SHOWN]
    with lettered(classifier.names, classifier.labels) as names:
        figures.confusion(METRICS / "plots/confusion.png", matrix, names)
        figures.misclassified(METRICS / "plots/misclassified.png", paths, labels, probabilities, names)
        figures.predictions(
            METRICS / "plots/predictions.png", [paths[row] for row in some], labels[some], probabilities[some], names
        )


def main() -> None:
    classifier = Classifier(NETWORK, DESCRIPTION)
    names = classifier.labels
    rows = [row for row in read_rows(SPLIT) if row["split"] == "test"]
    results = classifier.all_probabilities([RAW / row["path"] for row in rows])
    probabilities = np.stack(list(tqdm(results, "test images", len(rows), unit="", leave=False, disable=None)))
    labels = np.array([names.index(row["label"]) for row in rows])
    matrix = scores.confusion_matrix(probabilities.argmax(axis=1), labels, len(names))
    summary = scores.summary(probabilities, labels)
    columns = ["path", "actual", "predicted", *(f"p_{name}" for name in names)]
    write_rows(METRICS / "predictions.csv", columns, prediction_rows(rows, probabilities, names))
    write_json(METRICS / "confusion_matrix.json", {"labels": names, "matrix": matrix.tolist()})
    draw(rows, probabilities, matrix, classifier)
    write_json(METRICS / "accuracy.json", summary)
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    print(f"accuracy {summary['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {summary['images']} test images")


if __name__ == "__main__":
    run(main)
