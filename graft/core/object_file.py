"""A list of Python objects that lies in a temporary file, so that it need not fit in memory."""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ObjectFile(Generic[Item]):
    """Objects in a file; each loop over them reads the file again, one object at a time.

    Parameters
    ----------
    path : of the file, in a temporary folder of this process: reading it would run what others put there.
    items : the objects, which are written at once.
    """

    def __init__(self, path: Path, items: Iterable[Item]) -> None:
        self._path, self._count = path, 0
        with path.open("wb") as file:
            for item in items:
                pickle.dump(item, file)
                self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        with self._path.open("rb") as file:
            for _ in range(self._count):
                yield pickle.load(file)
