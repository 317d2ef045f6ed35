"""Accuracy and the other figures of a classifier."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graft.scores.calibration import calibration_error
from graft.scores.intervals import wilson_interval
from graft.scores.loss import cross_entropy_of

# Place in what `_proportion` returns.
ENDS = ((1, "low"), (2, "high"))


class Outcomes(NamedTuple):
    """What the figures need to know of each image: a few bytes, however many classes there are.

    Attributes
    ----------
    labels : int array (images,), the class of each.
    predicted : int array (images,), the most probable class.
    confidence : float array (images,), its probability.
    own : float array (images,), the probability of the image's own class.
    among_top : bool array (images,), whether its class is among the `default_k` most probable ones.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    own: np.ndarray
    among_top: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each image is right, bool array (images,)."""
        return self.predicted == self.labels


def outcomes(probabilities: np.ndarray, labels: np.ndarray) -> Outcomes:
    """Return the outcomes of images.

    Parameters
    ----------
    probabilities : float array (images, classes), rows sum to 1.
    labels : int array (images,), the class of each.
    """
    rows, top = np.arange(len(labels)), _among_top(probabilities, labels, default_k(probabilities.shape[1]))
    return Outcomes(labels, probabilities.argmax(axis=1), probabilities.max(axis=1), probabilities[rows, labels], top)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the outcomes of the images of all parts, one after the other."""
    return Outcomes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of images whose class is among the k most probable; of equal classes, the first ones count."""
    return float(_among_top(probabilities, labels, k).mean())


def _among_top(probabilities: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return (order == labels[:, np.newaxis]).any(axis=1)


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
    return accuracy_and_loss_of(outcomes(probabilities, labels))


def accuracy_and_loss_of(found: Outcomes) -> dict[str, float]:
    """Return what `accuracy_and_loss` does, from the outcomes of images."""
    return {"accuracy": float(found.right.mean()), "loss": cross_entropy_of(found.own)}


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
    return summary_of(outcomes(probabilities, labels), probabilities.shape[1])


def summary_of(found: Outcomes, classes: int) -> dict[str, object]:
    """Return what `summary` does, from the outcomes of images and the number of classes."""
    labels = found.labels
    matrix = confusion_matrix(found.predicted, labels, classes)
    right, actual, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = actual > 0
    low, high = wilson_interval(int(right.sum()), len(labels))
    return {
        "accuracy": float(right.sum() / len(labels)),
        "balanced_accuracy": float((right[occurs] / actual[occurs]).mean()),
        "macro_f1": float((2 * right[occurs] / (actual + predicted)[occurs]).mean()),
        "top_k_accuracy": {"k": default_k(classes), "accuracy": float(found.among_top.mean())},
        "loss": cross_entropy_of(found.own),
        "expected_calibration_error": calibration_error(found.confidence, found.right),
        "accuracy_low": low,
        "accuracy_high": high,
        "images": len(labels),
    }


def per_class(matrix: np.ndarray, classes: Sequence[str]) -> list[dict[str, object]]:
    """Return the figures of each class, in the order of the classes.

    Parameters
    ----------
    matrix : int array (classes, classes), rows are actual classes, columns predicted ones.
    classes : their names.

    Returns
    -------
    A dictionary for each class:
    class : its name.
    images : how many images are of this class.
    predicted : how many images are predicted as this class.
    precision, recall, f1 : from 0 to 1; None where there is nothing to divide by.
    precision_low, precision_high, and so on : 95 % Wilson intervals. F1 is 2 J / (1 + J) of the proportion
        J = TP / (TP + FP + FN), and so are the ends of its interval (Wilson indirect:
        Lam et al. 2023, arXiv 2309.14621).
    """
    figures = []
    for name, right, images, predicted in zip(
        classes, matrix.diagonal().tolist(), matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist(), strict=True
    ):
        jaccard = _proportion(right, images + predicted - right)
        proportions = {
            "precision": _proportion(right, predicted),
            "recall": _proportion(right, images),
            "f1": tuple(None if value is None else 2 * value / (1 + value) for value in jaccard),
        }
        values = {key: value for key, (value, _, _) in proportions.items()}
        ends = {f"{key}_{end}": bounds[place] for key, bounds in proportions.items() for place, end in ENDS}
        figures.append({"class": name, "images": images, "predicted": predicted, **values, **ends})
    return figures


def _proportion(right: int, images: int) -> tuple[float | None, float | None, float | None]:
    """Return a proportion and both ends of its interval; None for all three if there are no images."""
    return (right / images, *wilson_interval(right, images)) if images else (None, None, None)
