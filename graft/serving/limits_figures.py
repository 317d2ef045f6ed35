"""What the test part says of a classifier's limits: the content of metrics/unknown.json."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from graft.core import paths
from graft.heads.feature_file import FeatureFile
from graft.images.table import ImageTable
from graft.scores.intervals import wilson_interval
from graft.scores.known import known_figures
from graft.serving.classifier import Classifier
from graft.serving.generated import write_pictures
from graft.serving.judged import Judged
from graft.serving.left_out import MOST_FEATURES, left_out_figures

Figures = dict[str, float]
NOT_IN_MODEL = f"{paths.LABELS} has none"
# Why a part may be missing.
REASONS = {
    "prediction_sets": NOT_IN_MODEL,
    "none_of_these": NOT_IN_MODEL,
    "class_left_out": f"it needs none_of_these, three classes, and up to {MOST_FEATURES:,} features",
}


def limits_figures(classifier: Classifier, judged: Judged, table: ImageTable) -> dict[str, Figures]:
    """Return the figures of prediction sets and of "none of these".

    Parameters
    ----------
    classifier : the exported file.
    judged : its predictions of the images of the test part, in the order of the table.
    table : all images.

    Returns
    -------
    prediction_sets : `set_figures`, with wanted_coverage.
    none_of_these : of the exported file, on the test part: accepted, with its 95 % Wilson interval; accuracy: of the
    accepted images. On generated pictures: generated_auroc, generated_refused, generated_images.
    class_left_out : `left_out_figures`, of heads on the frozen backbone's features.

    A part that the classifier or the data do not have is left out, with a line on standard error.
    """
    scores = judged.known_scores
    parts: dict[str, Figures | None] = dict.fromkeys(REASONS)
    if classifier.coverage is not None:
        figures = set_figures(judged.in_set, judged.set_sizes, judged.outcomes.labels)
        parts["prediction_sets"] = {"wanted_coverage": classifier.coverage} | figures
    if len(scores):
        parts["none_of_these"] = _known(scores, judged.outcomes.right) | _on_generated(classifier, scores)
        parts["class_left_out"] = left_out_figures(table, FeatureFile(paths.FEATURES, np.arange(len(table))))
    for name in [name for name, figures in parts.items() if figures is None]:
        print(f"{paths.UNKNOWN}: without {name}: {REASONS[name]}", file=sys.stderr)
    return {name: figures for name, figures in parts.items() if figures is not None}


def _known(scores: np.ndarray, right: np.ndarray) -> Figures:
    accepted = scores >= 0
    low, high = wilson_interval(int(accepted.sum()), len(scores))
    figures = {"accepted": float(accepted.mean()), "accepted_low": low, "accepted_high": high}
    return figures | ({"accuracy": float(right[accepted].mean())} if accepted.any() else {})


def _on_generated(classifier: Classifier, scores: np.ndarray) -> Figures:
    with TemporaryDirectory() as folder:
        predictions = list(classifier.all_predictions(list(write_pictures(Path(folder)))))
    figures = known_figures(scores, np.array([prediction.known_score for prediction in predictions]))
    return {f"generated_{name}": value for name, value in figures.items()}


def set_figures(contains: np.ndarray, sizes: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return how good prediction sets are.

    Parameters
    ----------
    contains : bool array (images,), whether the set of each image has its class.
    sizes : int array (images,), the number of classes in it.
    labels : int array (images,), the class of each.

    Returns
    -------
    coverage : share of the images whose set contains their class; coverage_low, coverage_high : its 95 % Wilson
    interval. lowest_class_coverage : the same share within the class where it is lowest. mean_size : classes in a set.
    single : share of the sets with one class.
    """
    low, high = wilson_interval(int(contains.sum()), len(labels))
    return {
        "coverage": float(contains.mean()),
        "coverage_low": low,
        "coverage_high": high,
        "lowest_class_coverage": min(float(contains[labels == label].mean()) for label in np.unique(labels)),
        "mean_size": float(sizes.mean()),
        "single": float((sizes == 1).mean()),
    }
