"""Features on disk."""

from pathlib import Path

import numpy as np

from graft.core.errors import GraftError


class FeatureFile:
    """An .npy file of features, which is read again each time that it is indexed.

    Unlike a memory map that stays open, it does not keep the pages that were read in the memory of the process.

    Parameters
    ----------
    path : of an array (file rows, ...).
    rows : int array of any shape, the rows of the file that this object has: ``file[index]`` is row ``rows[index]``.

    Attributes
    ----------
    shape : the shape of `rows`, followed by that of a row.

    Raises
    ------
    GraftError
        If the file does not exist.
    """

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        if not path.is_file():
            raise GraftError(f"{path}: no such file; `dvc repro` writes it")
        self._path, self._rows = path, rows
        self.shape = (*rows.shape, *np.load(path, mmap_mode="r").shape[1:])

    def __getitem__(self, index: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
        """Return the rows that an int array, or one for each dimension of `rows`, selects: a new array in memory."""
        return np.load(self._path, mmap_mode="r")[self._rows[index]]
