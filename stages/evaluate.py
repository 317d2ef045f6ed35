"""Stage evaluate: run the exported file on the image files of the test part, and write its metrics and figures."""

import sys
from heapq import nsmallest
from pathlib import Path

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
from graft.serving.judged import Judge, Judged
from graft.serving.limits_figures import limits_figures
from graft.serving.runtimes import figures_of_formats
from graft.settings import params


def draw(images: ImageTable, some: list[int], judged: Judged, matrix: np.ndarray, classifier: Classifier) -> None:
    """Draw the figures in metrics/plots: confusion matrix, misclassified images, some predictions, learning curves."""

    def of(rows: list[int]) -> tuple[list[Path], np.ndarray, np.ndarray]:
        shares = np.array([judged.probabilities[row] for row in rows]).reshape(-1, len(images.classes))
        return images.take(np.array(rows, int)).files(), images.labels[rows], shares

    right = judged.outcomes.right
    wrong = sorted(row for row in judged.probabilities if not right[row])
    with class_names(classifier.names, classifier.labels) as names:
        figures.confusion(paths.PLOTS / "confusion.png", matrix, names)
        counts = int((~right).sum()), len(images)
        figures.misclassified(paths.PLOTS / "misclassified.png", *of(wrong), names, counts)
        figures.predictions(paths.PLOTS / "predictions.png", *of(some), names)
    history = read_rows(paths.HISTORY)
    # Without an epoch of fine-tuning there is no curve.
    if history:
        columns = {name: [float(row[name]) for row in history] for name in history[0]}
        head = read_json(paths.HEAD_METRICS)["head_validation"]
        figures.learning_curves(paths.PLOTS / "learning_curves.png", columns, head)


def compare_formats(images: ImageTable, rows: np.ndarray, judged: Judged) -> None:
    """Write metrics/formats.json, of the test images in these rows."""
    if len(rows) and len(rows) < len(images):
        print(f"{paths.FORMAT_METRICS}: of {len(rows)} of the {len(images)} test images", file=sys.stderr)
    shipped = np.array([judged.probabilities[row] for row in rows.tolist()])
    write_json(paths.FORMAT_METRICS, figures_of_formats(shipped, read_json(paths.LABELS), images.take(rows)))


def main() -> None:
    parameters = params.load()
    most = parameters.limits.rows_in_memory
    classifier = Classifier(paths.CLASSIFIER, paths.LABELS)
    # The stage download has checked the images.
    classifier.max_pixels = None
    table = read_image_table()
    table.require_classes(classifier.labels, paths.LABELS)
    images = table.part("test")
    # The hash of an image decides whether it is shown, not its prediction.
    some = [row for _, row in nsmallest(figures.MAX_IMAGES, zip(images.sha256, range(len(images)), strict=True))]
    formats = any(path.is_file() for path in paths.FORMATS.values())
    compared = np.linspace(0, len(images) - 1, min(len(images), most) if formats else 0).astype(int)
    judge = Judge(images.labels, classifier.labels, {*some, *compared.tolist()}, figures.MAX_IMAGES)
    results = Progress(classifier.all_predictions(images.each_file()), "test images", len(images))
    write_predictions(paths.PREDICTIONS, images, judge.each(results), most)
    judged = judge.judged()
    found, classes = judged.outcomes, table.classes
    matrix = metrics.confusion_matrix(found.predicted, found.labels, len(classes))
    summary = metrics.summary_of(found, len(classes))
    write_confusion_matrix(paths.CONFUSION_MATRIX, matrix, classes)
    write_json(paths.PER_CLASS, metrics.per_class(matrix, classes))
    draw(images, some, judged, matrix, classifier)
    write_rows(paths.OPERATING_POINTS, operating_points.COLUMNS, operating_points.operating_points(found, classes))
    write_json(paths.UNKNOWN, limits_figures(classifier, judged, table))
    write_json(paths.ACCURACY, summary)
    compare_formats(images, compared, judged)
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    print(f"accuracy {summary['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {summary['images']} test images")


if __name__ == "__main__":
    run_stage(main)
