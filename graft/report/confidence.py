"""Accuracy by confidence: the bins of the reliability diagram, and what is right among the surest answers."""

import numpy as np

from graft.scores.intervals import wilson_interval

BINS = 10
MOST_POINTS = 100


def bins(confidence: np.ndarray, right: np.ndarray, least: float) -> list[dict[str, float]]:
    """Return the bins of a reliability diagram that have an image, from `least` to 1, of equal width.

    Parameters
    ----------
    confidence : float array (images,), the probability of the prediction.
    right : bool array (images,).
    least : where the first bin starts, below 1.

    Returns
    -------
    A dictionary for each bin: low_end, high_end, images, confidence (their mean), accuracy, and its Wilson interval,
    low and high.
    """
    places = np.clip(((confidence - least) / (1 - least) * BINS).astype(int), 0, BINS - 1)
    found = []
    for place in np.unique(places):
        chosen = places == place
        count, hits = int(chosen.sum()), int(right[chosen].sum())
        low, high = wilson_interval(hits, count)
        found.append(
            {
                "low_end": least + (1 - least) * place / BINS,
                "high_end": least + (1 - least) * (place + 1) / BINS,
                "images": count,
                "confidence": float(confidence[chosen].mean()),
                "accuracy": hits / count,
                "low": low,
                "high": high,
            }
        )
    return found


def coverage(confidence: np.ndarray, right: np.ndarray) -> list[tuple[float, float]]:
    """Return points (share of the images that is answered, share of these that is right), the surest images first."""
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # One image alone says nothing: from a twentieth of the images on.
    numbers = np.unique(np.linspace(max(1, len(order) // 20), len(order), MOST_POINTS).astype(int))
    return [(float(number / len(order)), float(shares[number - 1])) for number in numbers]
