"""Whether a classifier is as sure as it is right, and how to make it so."""

import numpy as np
from scipy.optimize import minimize_scalar

from graft.scores.loss import PROBABILITY_FLOOR, cross_entropy, softmax

CALIBRATION_BINS = 15


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean distance between confidence and accuracy over 15 equal bins, from 0 to 1.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3.

    Parameters
    ----------
    probabilities : float array (images, classes), rows sum to 1.
    labels : int array (images,), the class of each.
    """
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return what `expected_calibration_error` does, of the predicted classes alone.

    Parameters
    ----------
    confidence : float array (images,), the probability of the predicted class.
    right : bool array (images,), whether that is the image's class.
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    distances = np.bincount(bins, confidence - right, CALIBRATION_BINS)
    return float(np.abs(distances).sum() / len(right))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, from 0.01 to 100, by which to divide logits so that their probabilities are calibrated.

    It has the lowest cross-entropy (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599),
    with one label in n + 1 spread over all classes: else a few images, all of them right, would make it as sure as the
    bounds allow (Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2, has the like).

    Parameters
    ----------
    logits : float array (images, classes), of images that the classifier was not trained on; or (images, squares,
        classes), where an image's probabilities are the mean over its squares.
    labels : int array (images,).
    """
    doubt = 1 / (len(labels) + 1)
    squares = logits.reshape(len(logits), -1, logits.shape[-1])

    def loss(log_temperature: float) -> float:
        shares = softmax(squares / np.exp(log_temperature)).mean(axis=1)
        spread = -np.log(np.maximum(shares, PROBABILITY_FLOOR)).mean()
        return (1 - doubt) * cross_entropy(shares, labels) + doubt * float(spread)

    bound = np.log(100)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))
