"""A column of text of a large CSV file: it stays on disk, and is read when it is asked for."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

# A row is read in pieces of so many bytes; most rows are shorter.
PIECE = 512


class OpenFile:
    """A file that stays open, so that what is read later is of the same file, even if another takes its place."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        # Without a file there is no descriptor.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def line(self, start: int) -> bytes:
        """Return the line that starts at this byte. Several threads may call it at once."""
        found = b""
        while piece := os.pread(self._descriptor, PIECE, start + len(found)):
            end = piece.find(b"\n")
            if end >= 0:
                return found + piece[:end]
            found += piece
        return found


class TextColumn:
    """The values of one column in some rows, as an array of text has them.

    An index gives a text, an array of indices another TextColumn. NumPy functions take it for an array; then all values
    are in memory for a moment.

    Parameters
    ----------
    file : the CSV file; each row is one line.
    place : of the column, from 0.
    starts : int64 array (rows,), the byte at which each row starts; also an attribute.
    """

    def __init__(self, file: OpenFile, place: int, starts: np.ndarray) -> None:
        self._file, self._place, self.starts = file, place, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[str]:
        return map(self._text, self.starts)

    @overload
    def __getitem__(self, index: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, index: np.ndarray | slice) -> TextColumn: ...
    def __getitem__(self, index: int | np.integer | np.ndarray | slice) -> str | TextColumn:
        if isinstance(index, int | np.integer):
            return self._text(self.starts[index])
        return self.at(self.starts[index])

    def at(self, starts: np.ndarray) -> TextColumn:
        """Return the same column of the rows that start at these bytes."""
        return TextColumn(self._file, self._place, starts)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(list(self) or np.empty(0, str), dtype)

    def tolist(self) -> list[str]:
        """Return all values."""
        return list(self)

    def _text(self, start: int) -> str:
        return fields(self._file.line(int(start)))[self._place]


def taken(columns: Sequence[Any], indices: np.ndarray) -> list[Any]:
    """Return columns, arrays or TextColumns, at these indices. TextColumns of one table share their memory."""
    found: list[Any] = []
    starts: dict[int, np.ndarray] = {}
    for column in columns:
        if isinstance(column, TextColumn):
            known = id(column.starts)
            if known not in starts:
                starts[known] = column.starts[indices]
            found.append(column.at(starts[known]))
        else:
            found.append(column[indices])
    return found


def fields(line: bytes) -> list[str]:
    """Return the values of a line of a CSV file.

    Raises
    ------
    UnicodeDecodeError, csv.Error
        If it is not CSV in UTF-8.
    """
    text = line.decode("utf-8").rstrip("\r\n")
    return text.split(",") if '"' not in text else next(csv.reader([text], strict=True))
