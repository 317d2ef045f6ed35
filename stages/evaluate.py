"""Stage evaluate: run the exported file on the image files of the test part, and write its metrics and figures."""

import numpy as np
from tqdm import tqdm

from graft.core import paths
from graft.core.files import read_json, write_json
from graft.core.stage import run_stage
from graft.images.table import ImageTable, read_image_table
from graft.report import figures
from graft.report.fonts import class_names
from graft.report.tables import write_confusion_matrix, write_predictions
from graft.scores import metrics
from graft.serving.classifier import Classifier
from graft.serving.runtimes import figures_of_formats


def draw(images: ImageTable, probabilities: np.ndarray, matrix: np.ndarray, classifier: Classifier) -> None:
    """Draw the figures in metrics/plots: the confusion matrix, misclassified images, and some predictions."""
    files, labels = images.files(), images.labels
    # The hash of an image decides whether it is shown, not its prediction.
    some = np.argsort(images.sha256, kind="stable")[: figures.MAX_IMAGES]
    with class_names(classifier.names, classifier.labels) as names:
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
    write_predictions(paths.PREDICTIONS, images, probabilities)
    write_confusion_matrix(paths.CONFUSION_MATRIX, matrix, table.classes)
    draw(images, probabilities, matrix, classifier)
    write_json(paths.ACCURACY, summary)
    write_json(paths.FORMAT_METRICS, figures_of_formats(probabilities, read_json(paths.LABELS), images))
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    print(f"accuracy {summary['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {summary['images']} test images")


if __name__ == "__main__":
    run_stage(main)
