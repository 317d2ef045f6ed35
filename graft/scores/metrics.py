"""Accuracy and the other figures of a classifier."""

import numpy as np

from graft.scores.calibration import expected_calibration_error
from graft.scores.intervals import wilson_interval
from graft.scores.loss import cross_entropy


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of images whose class is among the k most probable; of equal classes, the first ones count."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == labels[:, np.newaxis]).any(axis=1).mean())


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts, int array (classes, classes): rows are actual classes, columns predicted ones."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def default_k(classes: int) -> int:
    """Return the k of top-k accuracy: 5; with three to five classes 2; with two classes 1."""
    return 5 if classes > 5 else min(2, classes - 1)


def accuracy_and_loss(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the accuracy and the cross-entropy, by which models are compared on the validation part.

    Parameters
    ----------
    probabilities : float array (images, classes), rows sum to 1.
    labels : int array (images,), the class of each.
    """
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return {"accuracy": accuracy, "loss": cross_entropy(probabilities, labels)}


def summary(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Return all figures of a classifier on a set of images.

    Parameters
    ----------
    probabilities : float array (images, classes), rows sum to 1.
    labels : int array (images,), the class of each.

    Returns
    -------
    accuracy, balanced_accuracy (mean recall), macro_f1 : from 0 to 1; means are over the classes among the labels.
    top_k_accuracy : {"k", "accuracy"}.
    loss : cross-entropy in nats.
    expected_calibration_error : from 0 to 1.
    accuracy_low, accuracy_high : 95 % Wilson interval.
    images : number of images.
    """
    classes = probabilities.shape[1]
    matrix = confusion_matrix(probabilities.argmax(axis=1), labels, classes)
    right, actual, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = actual > 0
    low, high = wilson_interval(int(right.sum()), len(labels))
    k = default_k(classes)
    return {
        "accuracy": float(right.sum() / len(labels)),
        "balanced_accuracy": float((right[occurs] / actual[occurs]).mean()),
        "macro_f1": float((2 * right[occurs] / (actual + predicted)[occurs]).mean()),
        "top_k_accuracy": {"k": k, "accuracy": top_k_accuracy(probabilities, labels, k)},
        "loss": cross_entropy(probabilities, labels),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "images": len(labels),
    }
