"""Stage evaluate: judge the very file that is shipped, from image files of the test part to probabilities."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from graft.core import paths
from graft.core.errors import run
from graft.core.files import write_json, write_rows
from graft.images.table import ImageTable, read_image_table
from graft.report import figures
from graft.report.fonts import lettered
from graft.scores import metrics
from graft.serving.classifier import Classifier


def prediction_rows(images: ImageTable, probabilities: np.ndarray) -> Iterator[dict[str, str]]:
    """Yield a row of metrics/predictions.csv for each image; probabilities have six digits after the point."""
    for path, label, shares in zip(images.paths, images.labels, probabilities, strict=True):
        columns = {f"p_{name}": f"{share:.6f}" for name, share in zip(images.classes, shares, strict=True)}
        predicted = images.classes[int(shares.argmax())]
        yield {"path": path, "actual": images.classes[label], "predicted": predicted, **columns}


def draw(images: ImageTable, probabilities: np.ndarray, matrix: np.ndarray, classifier: Classifier) -> None:
    """Draw metrics/plots: the confusion matrix, the mistakes, and some predictions."""
    files, labels = images.files(), images.labels
    # Which images are shown is decided by their bytes, not by what was predicted of them.
    some = np.argsort(images.sha256, kind="stable")[: figures.SHOWN]
    with lettered(classifier.names, classifier.labels) as names:
        figures.confusion(paths.PLOTS / "confusion.png", matrix, names)
        figures.misclassified(paths.PLOTS / "misclassified.png", files, labels, probabilities, names)
        figures.predictions(
            paths.PLOTS / "predictions.png", [files[row] for row in some], labels[some], probabilities[some], names
        )


def main() -> None:
    classifier = Classifier(paths.CLASSIFIER, paths.LABELS)
    table = read_image_table()
    table.require_classes(classifier.labels, paths.LABELS)
    images = table.part("test")
    results = classifier.all_probabilities(images.files())
    probabilities = np.stack(list(tqdm(results, "test images", len(images), unit="", leave=False, disable=None)))
    matrix = metrics.confusion_matrix(probabilities.argmax(axis=1), images.labels, len(table.classes))
    summary = metrics.summary(probabilities, images.labels)
    columns = ["path", "actual", "predicted", *(f"p_{name}" for name in table.classes)]
    write_rows(paths.PREDICTIONS, columns, prediction_rows(images, probabilities))
    write_json(paths.CONFUSION_MATRIX, {"labels": list(table.classes), "matrix": matrix.tolist()})
    draw(images, probabilities, matrix, classifier)
    write_json(paths.ACCURACY, summary)
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    print(f"accuracy {summary['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {summary['images']} test images")


if __name__ == "__main__":
    run(main)
