"""The figures of a cross-validation: over all images, over the folds, and against another classifier."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from graft.commands.paired import paired_predictions
from graft.scores.calibration import calibration_error
from graft.scores.intervals import wilson_interval


def accuracies(right: np.ndarray, images: np.ndarray) -> dict[str, float]:
    """Return the accuracy over all images with its 95 % interval, and the mean and spread over the folds.

    Parameters
    ----------
    right : int array (folds,), how many of a fold's images are right.
    images : int array (folds,), how many there are.

    Returns
    -------
    accuracy, accuracy_low, accuracy_high : over all images, with the Wilson interval.
    accuracy_mean, accuracy_spread : mean and sample standard deviation over the folds.
    """
    low, high = wilson_interval(int(right.sum()), int(images.sum()))
    of_folds = right / images
    return {
        "accuracy": float(right.sum() / images.sum()),
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_mean": float(of_folds.mean()),
        "accuracy_spread": float(of_folds.std(ddof=1)),
    }


def of_images(images: pd.DataFrame) -> dict[str, object]:
    """Return the figures of the exported models: `accuracies`, and what stands below.

    Parameters
    ----------
    images : columns fold, actual, predicted, p_predicted; a row for each image.

    Returns
    -------
    balanced_accuracy : mean recall, from 0 to 1.
    expected_calibration_error : over all images, from 0 to 1.
    recall : by class.
    fold_accuracy : of each fold.
    images, folds : how many.
    """
    right = images["actual"] == images["predicted"]
    folds = right.groupby(images["fold"]).agg(["sum", "count", "mean"])
    recall = right.groupby(images["actual"]).mean()
    return {
        **accuracies(folds["sum"].to_numpy(), folds["count"].to_numpy()),
        "balanced_accuracy": float(recall.mean()),
        "expected_calibration_error": calibration_error(images["p_predicted"].to_numpy(), right.to_numpy()),
        "recall": recall.to_dict(),
        "fold_accuracy": folds["mean"].tolist(),
        "images": len(images),
        "folds": len(folds),
    }


def of_heads(heads: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return `accuracies` of the head alone, and the mean of its balanced accuracy over the folds.

    It is a mean because no file lists the images that the head has right.

    Parameters
    ----------
    heads : of each fold the figures `head` in metrics/head.json.
    """
    images = np.array([head["images"] for head in heads])
    right = np.rint([head["accuracy"] for head in heads] * images).astype(int)
    return {
        **accuracies(right, images),
        "balanced_accuracy_mean": float(np.mean([head["balanced_accuracy"] for head in heads])),
    }


def mcnemar_test(images: pd.DataFrame, other: pd.DataFrame, name: str) -> dict[str, object]:
    """Return McNemar's test of two classifiers on the same images, paired by path.

    Parameters
    ----------
    images, other : with columns path, actual, predicted.
    name : of the other.

    Raises
    ------
    GraftError
        If the images are not the same, or of other classes.
    """
    pair = paired_predictions(images, other, name)
    return {
        "against": name,
        "accuracy": pair.other_accuracy,
        "only_this_right": pair.only_this_right,
        "only_other_right": pair.only_other_right,
        "p_value": pair.p_value,
    }
