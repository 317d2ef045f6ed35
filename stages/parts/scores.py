"""How good a classifier is: probabilities and labels in, numbers out."""

import numpy as np

# 95 % of a normal distribution lies within this many standard deviations.
Z_95 = 1.959963984540054
CALIBRATION_BINS = 15
PROBABILITY_FLOOR = 1e-12


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, each from 0 to 1 (Wilson 1927, JASA 22, 209-212).

    Parameters
    ----------
    right : how many of the images are right, from 0.
    images : how many there are, from 1.
    """
    share = right / images
    widening = Z_95**2 / images
    middle = (share + widening / 2) / (1 + widening)
    half = Z_95 / (1 + widening) * np.sqrt(share * (1 - share) / images + widening / (4 * images))
    # At 0 and 1 the bound is the share itself, but for rounding.
    return float(np.clip(middle - half, 0, share)), float(np.clip(middle + half, share, 1))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean distance between confidence and accuracy over 15 equal bins, from 0 to 1.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3.

    Parameters
    ----------
    probabilities : float array (images, classes), rows sum to 1.
    labels : int array (images,), the class of each.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    distances = np.bincount(bins, confidence - right, CALIBRATION_BINS)
    return float(np.abs(distances).sum() / len(labels))


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log p(label) in nats; a probability below 1e-12 counts as 1e-12."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, PROBABILITY_FLOOR)).mean())


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of images whose class is among the k most probable; of equals, the first classes are."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == labels[:, np.newaxis]).any(axis=1).mean())


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts, int array (classes, classes): rows are actual classes, columns predicted ones."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def default_k(classes: int) -> int:
    """Return the k of top-k accuracy: 5, or 2 with up to five classes, or 1 with two, where 2 would say nothing."""
    return 5 if classes > 5 else min(2, classes - 1)


def choice(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return a model's figures on the validation part: accuracy, and the loss, by which models are chosen.

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
    accuracy, balanced_accuracy (mean recall), macro_f1 : from 0 to 1; the means are over the classes that occur among
        the labels.
    top_k_accuracy : {"k", "accuracy"}.
    loss : cross-entropy in nats.
    expected_calibration_error : from 0 to 1.
    accuracy_low, accuracy_high : 95 % Wilson interval.
    images : how many.
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
