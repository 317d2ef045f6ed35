"""Calibration: does a classifier's confidence agree with its accuracy? A temperature makes it agree."""

import numpy as np
from scipy.optimize import minimize_scalar

from graft.scores.loss import PROBABILITY_FLOOR, cross_entropy, softmax

CALIBRATION_BINS = 15


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean distance between confidence and accuracy over 15 bins of equal width, from 0 to 1.

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
    distances = np.bincount(bins, confidence - right)
    return float(np.abs(distances).sum() / len(right))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, from 0.01 to 100, that calibrates a classifier when its logits are divided by it.

    It is the temperature with the lowest cross-entropy (Guo et al. 2017, "On Calibration of Modern Neural Networks",
    arXiv 1706.04599). The labels are smoothed by 1 / (images + 1). Without that, a few images that are all right would
    make the classifier as confident as the bounds allow (compare Platt 1999, "Probabilistic Outputs for Support Vector
    Machines", section 2.2).

    Parameters
    ----------
    logits : float array (images, classes), or (images, crops, classes): then an image's probabilities are the mean
        over its crops. The classifier was not trained on these images.
    labels : int array (images,).
    """
    smoothing = 1 / (len(labels) + 1)
    crops = logits.reshape(len(logits), -1, logits.shape[-1])

    def loss(log_temperature: float) -> float:
        probabilities = softmax(crops / np.exp(log_temperature)).mean(axis=1)
        of_all_classes = -np.log(np.maximum(probabilities, PROBABILITY_FLOOR)).mean()
        return (1 - smoothing) * cross_entropy(probabilities, labels) + smoothing * float(of_all_classes)

    bound = np.log(100)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))
