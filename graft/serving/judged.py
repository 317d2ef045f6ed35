"""What is kept of the predictions of many images: a few numbers of each, and all probabilities of a few."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from graft.scores.metrics import Outcomes, joined, outcomes
from graft.serving.classifier import Prediction

# Predictions looked at together.
BLOCK = 1024


class Judged(NamedTuple):
    """Predictions of images whose class is known.

    Attributes
    ----------
    outcomes : of all images.
    in_set : bool array (images,), whether the prediction set has the class of the image; empty without such sets.
    set_sizes : int array (images,), the number of classes in it; empty likewise.
    known_scores : float array (images,), as `Prediction.known_score`; empty without such a score.
    probabilities : of the images that were asked for, and of the `surest` mistakes: float32 (classes,) by row.
    """

    outcomes: Outcomes
    in_set: np.ndarray
    set_sizes: np.ndarray
    known_scores: np.ndarray
    probabilities: dict[int, np.ndarray]


class Judge:
    """Takes predictions one by one, and keeps what `Judged` has.

    Parameters
    ----------
    labels : int array (images,), the class of each image, from 0.
    names : the classes, as prediction sets call them.
    rows : the images whose probabilities are kept.
    surest : the probabilities of so many wrong predictions are kept too, of the surest ones.
    """

    def __init__(self, labels: np.ndarray, names: list[str], rows: Collection[int], surest: int) -> None:
        self._labels, self._names, self._rows, self._surest = labels, names, set(rows), surest
        self._outcomes: list[Outcomes] = []
        self._in_set: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._kept: dict[int, np.ndarray] = {}
        self._mistakes: dict[int, np.ndarray] = {}

    def each(self, predictions: Iterable[Prediction]) -> Iterator[np.ndarray]:
        """Yield the probabilities of each image, float32 (classes,); the predictions are in the order of the labels."""
        start, waiting = 0, iter(predictions)
        while block := list(islice(waiting, BLOCK)):
            self._take(start, block)
            yield from (prediction.probabilities for prediction in block)
            start += len(block)

    def _take(self, start: int, block: list[Prediction]) -> None:
        probabilities = np.stack([prediction.probabilities for prediction in block])
        labels = self._labels[start : start + len(block)]
        self._outcomes.append(outcomes(probabilities, labels))
        sets = [(label, one.prediction_set) for label, one in zip(labels, block, strict=True)]
        self._in_set.append(np.array([self._names[label] in chosen for label, chosen in sets if chosen is not None]))
        self._sizes.append(np.array([len(chosen) for _, chosen in sets if chosen is not None], int))
        self._scores.append(np.array([one.known_score for one in block if one.known_score is not None], float))
        for place, row in enumerate(probabilities):
            if start + place in self._rows:
                self._kept[start + place] = row.copy()
        self._keep_mistakes(start, probabilities)

    def _keep_mistakes(self, start: int, probabilities: np.ndarray) -> None:
        for place in np.flatnonzero(~self._outcomes[-1].right):
            self._mistakes[start + int(place)] = probabilities[place].copy()
        # The sort is stable: of equally sure ones, the first is kept.
        surest = sorted(self._mistakes, key=lambda row: -float(self._mistakes[row].max()))[: self._surest]
        self._mistakes = {row: self._mistakes[row] for row in sorted(surest)}

    def judged(self) -> Judged:
        """Return what was kept."""
        in_set, sizes, scores = (np.concatenate(of) for of in (self._in_set, self._sizes, self._scores))
        return Judged(joined(self._outcomes), in_set.astype(bool), sizes, scores, self._kept | self._mistakes)
