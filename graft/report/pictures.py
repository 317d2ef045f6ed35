"""Galleries of test images: mistakes, answers that are least sure, and the images of each cell of the matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graft.report.results import RANKS, Results
from graft.report.thumbnails import Thumbnails

MOST_MISTAKES = 60
MOST_UNSURE = 24
MOST_OF_COMPARISON = 24
# Images of a cell of the matrix: of mistakes, and of right answers.
MOST_OF_CELL, MOST_ON_DIAGONAL = 24, 8


class TestImages:
    """The test images that the page shows, each with a record of what the script of the page says about it.

    Parameters
    ----------
    results : the judgement.
    thumbnails : collects the pictures.
    """

    # pytest takes it for no test.
    __test__ = False

    def __init__(self, results: Results, thumbnails: Thumbnails) -> None:
        self._results, self._thumbnails = results, thumbnails
        self._numbers: dict[int, int] = {}
        self.records: list[dict[str, Any]] = []
        self._ranks = [rank for rank in RANKS if rank in results.predictions]
        self._rows = results.predictions.to_dict("records")
        self._actual, self._confidence, self._right = results.actual, results.confidence, results.right

    def number(self, row: int) -> int:
        """Return the number of the record of a row of the predictions."""
        if row not in self._numbers:
            self._numbers[row] = len(self.records)
            values = self._rows[row]
            ranked = [
                [self._results.number_of[values[rank]], round(float(values[f"p_{rank}"]), 4)] for rank in self._ranks
            ]
            self.records.append(
                {
                    "path": values["path"],
                    "actual": int(self._actual[row]),
                    "ranked": ranked,
                    "image": self._thumbnails.of_file(values["path"]),
                }
            )
        return self._numbers[row]

    def numbers(self, rows: Sequence[int] | np.ndarray) -> list[int]:
        """Return the numbers of the records of several rows."""
        return [self.number(int(row)) for row in rows]

    def mistakes(self) -> dict[str, Any]:
        """Return the wrong predictions, the surest first: how many there are, and the records that are shown."""
        wrong = np.flatnonzero(~self._right)
        surest = wrong[np.argsort(-self._confidence[wrong], kind="stable")]
        return {"total": len(wrong), "shown": self.numbers(surest[:MOST_MISTAKES])}

    def unsure(self) -> dict[str, Any]:
        """Return the right predictions that are least sure."""
        right = np.flatnonzero(self._right)
        return {"shown": self.numbers(right[np.argsort(self._confidence[right], kind="stable")][:MOST_UNSURE])}

    def cells(self) -> dict[str, list[int]]:
        """Return the records of each cell of the matrix that has images, by "row,column"; the surest mistakes first."""
        classes = len(self._results.labels)
        cell = self._results.actual * classes + self._results.predicted
        order = np.lexsort((np.where(self._right, self._confidence, -self._confidence), cell))
        groups = np.split(order, np.flatnonzero(np.diff(cell[order])) + 1)
        found = {}
        # Mistakes first: their pictures are more important.
        for rows in sorted(groups, key=lambda rows: bool(self._right[rows[0]])):
            row, column = divmod(int(cell[rows[0]]), classes)
            found[f"{row},{column}"] = self.numbers(rows[: MOST_ON_DIAGONAL if row == column else MOST_OF_CELL])
        return found

    def changed(self, other: Mapping[str, str], revision: str) -> dict[str, Any]:
        """Return what another revision did otherwise, image by image.

        Parameters
        ----------
        other : the class that it predicts, by path of the image; of the same images.
        revision : its name.
        """
        before = np.array([other[row["path"]] for row in self._rows])
        was_right = before == self._results.predictions["actual"].to_numpy()
        groups = {
            "improved": self._right & ~was_right,
            "broken": ~self._right & was_right,
            "moved": ~self._right & ~was_right & (before != self._results.predictions["predicted"].to_numpy()),
        }
        shown = {}
        for name, chosen in groups.items():
            rows = np.flatnonzero(chosen)
            shown[name] = {
                "total": len(rows),
                "shown": [
                    (self.number(row), self._results.name(before[row])) for row in rows[:MOST_OF_COMPARISON].tolist()
                ],
            }
        return {"revision": revision, **shown}
