"""Writes what the stages write about a run, from generated numbers, for tests of the page."""

import numpy as np

from graft.core import paths
from graft.core.files import write_json, write_rows
from graft.data import findings as kinds
from graft.images.table import ImageTable
from graft.report.tables import write_confusion_matrix, write_predictions
from graft.scores import metrics

FINDINGS = (*kinds.COPIES, *kinds.CHECKS, kinds.OUTLIER, kinds.REFUSED)
# What `evaluate` writes in metrics/unknown.json.
LIMITS = {
    "prediction_sets": {
        "wanted_coverage": 0.95,
        "coverage": 0.994,
        "coverage_low": 0.979,
        "coverage_high": 0.998,
        "lowest_class_coverage": 0.958,
        "mean_size": 1.02,
        "single": 0.98,
    },
    "none_of_these": {
        "accepted": 0.946,
        "accepted_low": 0.917,
        "accepted_high": 0.965,
        "accuracy": 1.0,
        "generated_auroc": 1.0,
        "generated_refused": 0.9,
        "generated_images": 60,
    },
    "class_left_out": {
        "classes": 10,
        "auroc": 0.954,
        "lowest_auroc": 0.898,
        "auroc_largest_probability": 0.918,
        "auroc_entropy": 0.924,
        "auroc_similarity": 0.885,
        "refused": 0.545,
        "accepted": 0.973,
    },
}
HISTORY = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")


def images_of(classes: list[str], count: int) -> ImageTable:
    """Return test images of these classes in turn."""
    labels = np.arange(count) % len(classes)
    names = np.array([f"{label:03d}/image_{number:05d}.png" for number, label in enumerate(labels)])
    return ImageTable(tuple(classes), names, labels, np.full(count, "test"), np.full(count, "0" * 64), names)


def probabilities(labels: np.ndarray, classes: int, wrong: int, seed: int = 0) -> np.ndarray:
    """Return probabilities that are wrong for the first `wrong` images, as float array (images, classes)."""
    shares = np.random.default_rng(seed).uniform(0.1, 0.2, (len(labels), classes))
    predicted = np.where(np.arange(len(labels)) < wrong, (labels + 1) % classes, labels)
    shares[np.arange(len(labels)), predicted] += classes * 0.3
    return shares / shares.sum(axis=1, keepdims=True)


def write_judgement(images: ImageTable, shares: np.ndarray) -> None:
    """Write what `evaluate` writes in metrics/, without figures."""
    matrix = metrics.confusion_matrix(shares.argmax(axis=1), images.labels, len(images.classes))
    write_json(paths.ACCURACY, metrics.summary(shares, images.labels))
    write_confusion_matrix(paths.CONFUSION_MATRIX, matrix, images.classes)
    write_json(paths.PER_CLASS, metrics.per_class(matrix, images.classes))
    write_predictions(paths.PREDICTIONS, images, shares)


def write_training() -> None:
    """Write what the stages before `evaluate` write in metrics/."""
    validation = {"accuracy": 0.8, "loss": 0.5}
    tuned = {"accuracy": 0.95, "loss": 0.2}
    write_json(paths.HEAD_METRICS, {"head": {"accuracy": 0.75, "images": 9}, "head_validation": validation})
    write_json(paths.FINE_TUNE_METRICS, {"fine_tuned_validation": tuned, "interpolation": 1.0})
    write_json(paths.EXPORT_METRICS, {"exported": "fine_tuned", "image_size": 16, "exported_validation": tuned})
    write_rows(paths.HISTORY, HISTORY, [dict.fromkeys(HISTORY, 0.1) | {"epoch": epoch} for epoch in range(1, 4)])


def write_features(images: ImageTable) -> None:
    """Write the features of all images, which differ by class, and what describes the backbone."""
    features = np.random.default_rng(0).normal(size=(len(images), 6)).astype(np.float32)
    features[:, 0] += 4 * images.labels
    paths.FEATURES.parent.mkdir(parents=True)
    np.save(paths.FEATURES, features)
    write_json(paths.BACKBONE_DESCRIPTION, {"image_size": 16, "resize": "crop"})


def data_metrics(suspects: int = 0, **findings: int) -> dict[str, object]:
    """Return what `inspect` writes in metrics/data.json about 36 images: so many suspect labels, and these findings."""
    return {
        "images": 36,
        "classes": 3,
        "smallest_class": 10,
        "largest_class": 14,
        "train": 18,
        "validation": 9,
        "test": 9,
        "judged": 36,
        "suspects": suspects,
        "suspects_in_test": min(suspects, 2),
        "suspect_share": suspects / 36,
        "findings": dict.fromkeys(FINDINGS, 0) | findings,
        "formats": {"JPEG": 16, "PNG": 20},
        "width": {"least": 8, "median": 8.0, "most": 8},
        "height": {"least": 24, "median": 32.0, "most": 2048},
    }
