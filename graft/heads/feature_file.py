"""Features on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graft.core.array_file import ArrayFile
from graft.core.errors import GraftError


class FeatureFile:
    """Rows of features on disk, which are read each time that they are indexed.

    Parameters
    ----------
    path : of an array (file rows, ...), or of a folder of numbered files, as `extract` writes them.
    rows : int array of any shape, the rows of the file that this object has: ``file[index]`` is row ``rows[index]``.

    Attributes
    ----------
    shape : the shape of `rows`, followed by that of a row.

    Raises
    ------
    GraftError
        If there is no such file, a part of it is missing or altered, or it has fewer rows.
    """

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        self._path, self._rows = path, rows
        self._file = ArrayFile(path)
        self.shape = (*rows.shape, *self._file.shape[1:])
        if rows.size and (needed := int(rows.max()) + 1) > self._file.shape[0]:
            raise GraftError(f"{path}: {self._file.shape[0]} rows, not {needed}; `dvc repro` writes it again")

    def __getitem__(self, index: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
        """Return the rows that an int array, or one for each dimension of `rows`, selects: a new array in memory."""
        return self._file[self._rows[index]]

    def take(self, indices: np.ndarray) -> FeatureFile:
        """Return the rows at these indices of the first dimension, which stay on disk."""
        return FeatureFile(self._path, self._rows[indices])


def count_rows(path: Path) -> int:
    """Return how many rows a file of features has, 0 where there is none."""
    return ArrayFile(path).shape[0] if path.exists() else 0
