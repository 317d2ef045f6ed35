"""What the page shows of the judgement itself: the confusion matrix, learning curves and confidence."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from graft.report import charts, confidence

# With more classes, the numbers in the cells of the matrix would be too small to read.
MOST_NUMBERED = 30
MOST_CONFUSIONS = 12
HISTORY_COLUMNS = ("epoch", "loss", "val_loss", "accuracy", "val_accuracy")
LEARNING = (("loss", "loss (cross-entropy, nats)"), ("accuracy", "share that is right"))


def matrix(counts: np.ndarray) -> dict[str, Any]:
    """Return the cells of the confusion matrix, and the commonest mistakes.

    Parameters
    ----------
    counts : int array (classes, classes), rows actual, columns predicted.

    Returns
    -------
    counts, shares (of the row), shades (from 0 to 1) : of each cell, a list for each row.
    numbered : whether the cells show numbers.
    commonest : the commonest mistakes as (actual class, predicted class, number of images).
    """
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    places = [divmod(int(place), len(counts)) for place in order]
    return {
        "counts": counts.tolist(),
        "shares": (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist(),
        "shades": charts.shades(counts).round(2).tolist(),
        "numbered": len(counts) <= MOST_NUMBERED,
        "commonest": [(row, column, int(wrong[row, column])) for row, column in places if wrong[row, column]],
    }


def curves(history: pd.DataFrame, head: Mapping[str, float]) -> dict[str, Any]:
    """Return the charts of the learning curves, and whether they show the head alone.

    Parameters
    ----------
    history : metrics/history.csv, with at least a row.
    head : loss and accuracy of the head alone on the validation part; empty where they are not known.
    """
    drawn = []
    for name, title in LEARNING:
        training, validation = (list(zip(history["epoch"], history[key], strict=True)) for key in (name, f"val_{name}"))
        lines = [charts.Line("training", training, "faint"), charts.Line("validation", validation, "right")]
        drawn.append(charts.lines(title, lines, "epoch", title, head.get(name)))
    return {"charts": drawn, "head": bool(head)}


def reliability(surest: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Return the reliability diagram with its bins, and the chart of the surest answers.

    Parameters
    ----------
    surest : float array (images,), the probability of the prediction.
    right : bool array (images,).
    """
    # The first tenth that has an image: the prediction's probability is at least that of chance.
    least = min(float(np.floor(10 * surest.min()) / 10), 0.9)
    bins = confidence.bins(surest, right, least)
    return {
        "bins": bins,
        "diagram": charts.reliability("Reliability diagram", bins, least),
        "coverage": charts.coverage("Accuracy of the surest answers", confidence.coverage(surest, right)),
    }
