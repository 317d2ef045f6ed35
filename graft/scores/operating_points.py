"""Accuracy and coverage of a classifier that answers only where it is sure enough."""

from collections.abc import Iterator, Sequence

import numpy as np

from graft.scores.metrics import Outcomes

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99)
COLUMNS = ("threshold", "coverage", "accuracy", "class", "class_coverage", "precision", "recall")


def operating_points(found: Outcomes, classes: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield a row for each threshold and class; keys are `COLUMNS`.

    An image is answered if its largest probability is at least the threshold. A threshold that no image reaches has no
    rows.

    Parameters
    ----------
    found : the outcomes of images.
    classes : their names.

    Yields
    ------
    threshold : one of `THRESHOLDS`.
    coverage : share of all images that are answered. accuracy : share of these that are right.
    class : the name of the class that the other figures are of.
    class_coverage : share of the images of this class that are answered.
    precision : share of the answers with this class that are right.
    recall : share of all images of this class that are answered and right.

    The figures have six decimals. A share of no images is empty.
    """
    labels, predicted, confidence = found.labels, found.predicted, found.confidence
    size = len(classes)
    actual = np.bincount(labels, minlength=size)
    for threshold in THRESHOLDS:
        answered = confidence >= threshold
        if not answered.any():
            continue
        right = np.bincount(labels[answered & (predicted == labels)], minlength=size)
        shown, answers = (np.bincount(of[answered], minlength=size) for of in (labels, predicted))
        overall: dict[str, object] = {
            "threshold": threshold,
            "coverage": _share(answered.sum(), len(labels)),
            "accuracy": _share(right.sum(), answered.sum()),
        }
        for label, name in enumerate(classes):
            yield overall | {
                "class": name,
                "class_coverage": _share(shown[label], actual[label]),
                "precision": _share(right[label], answers[label]),
                "recall": _share(right[label], actual[label]),
            }


def _share(count: int, total: int) -> float | str:
    return round(float(count / total), 6) if total else ""
