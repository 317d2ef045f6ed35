"""Stage evaluate: run the exported file on the image files of the test part, and write its metrics and figures."""

import numpy as np

from graft.core import paths
from graft.core.files import read_json, read_rows, write_json, write_rows
from graft.core.progress import Progress
from graft.core.stage import run_stage
from graft.images.table import ImageTable, read_image_table
from graft.report import figures
from graft.report.fonts import class_names
from graft.report.tables import write_confusion_matrix, write_predictions
from graft.scores import metrics, operating_points
from graft.serving.classifier import Classifier
from graft.serving.limits_figures import limits_figures
from graft.serving.runtimes import figures_of_formats


def draw(images: ImageTable, probabilities: np.ndarray, matrix: np.ndarray, classifier: Classifier) -> None:
    """Draw the figures in metrics/plots: confusion matrix, misclassified images, some predictions, learning curves."""
    files, labels = images.files(), images.labels
    # The hash of an image decides whether it is shown, not its prediction.
    some = np.argsort(images.sha256, kind="stable")[: figures.MAX_IMAGES]
    with class_names(classifier.names, classifier.labels) as names:
        figures.confusion(paths.PLOTS / "confusion.png", matrix, names)
        figures.misclassified(paths.PLOTS / "misclassified.png", files, labels, probabilities, names)
        figures.predictions(
            paths.PLOTS / "predictions.png", [files[row] for row in some], labels[some], probabilities[some], names
        )
    history = read_rows(paths.HISTORY)
    # Without an epoch of fine-tuning there is no curve.
    if history:
        columns = {name: [float(row[name]) for row in history] for name in history[0]}
        head = read_json(paths.HEAD_METRICS)["head_validation"]
        figures.learning_curves(paths.PLOTS / "learning_curves.png", columns, head)


def main() -> None:
    classifier = Classifier(paths.CLASSIFIER, paths.LABELS)
    table = read_image_table()
    table.require_classes(classifier.labels, paths.LABELS)
    images = table.part("test")
    results = classifier.all_predictions(images.files())
    predictions = list(Progress(results, "test images", len(images)))
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    matrix = metrics.confusion_matrix(probabilities.argmax(axis=1), images.labels, len(table.classes))
    summary = metrics.summary(probabilities, images.labels)
    write_predictions(paths.PREDICTIONS, images, probabilities)
    write_confusion_matrix(paths.CONFUSION_MATRIX, matrix, table.classes)
    write_json(paths.PER_CLASS, metrics.per_class(matrix, table.classes))
    draw(images, probabilities, matrix, classifier)
    points = operating_points.operating_points(probabilities, images.labels, table.classes)
    write_rows(paths.OPERATING_POINTS, operating_points.COLUMNS, points)
    write_json(paths.UNKNOWN, limits_figures(classifier, predictions, table))
    write_json(paths.ACCURACY, summary)
    write_json(paths.FORMAT_METRICS, figures_of_formats(probabilities, read_json(paths.LABELS), images))
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    print(f"accuracy {summary['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {summary['images']} test images")


if __name__ == "__main__":
    run_stage(main)
