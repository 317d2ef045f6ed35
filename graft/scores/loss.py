"""Softmax and cross-entropy."""

import numpy as np

PROBABILITY_FLOOR = 1e-12


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of each row, float64 array of the same shape (..., classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log p(label) in nats; a probability below 1e-12 counts as 1e-12."""
    return cross_entropy_of(probabilities[np.arange(len(labels)), labels])


def cross_entropy_of(chosen: np.ndarray) -> float:
    """Return what `cross_entropy` does, from the probability of each image's own class, float array (images,)."""
    return float(-np.log(np.maximum(chosen.astype(np.float64), PROBABILITY_FLOOR)).mean())
