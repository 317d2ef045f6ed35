"""The requests of the images of data/split.csv, made as they are needed: they take no memory."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

import numpy as np

from graft.activations.requests import Request
from graft.core import paths
from graft.core.files import rows_of
from graft.images.table import PARTS, ImageTable, read_image_table

# Images whose requests are in memory together.
IMAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class SplitRequests(Collection[Request]):
    """The requests of images of data/split.csv, or of views of each: one image after the other, in the file's order.

    They are read from the file in each loop, so that they take no memory.

    Attributes
    ----------
    images : how many images there are of these parts.
    parts : whose images these are.
    views : the numbers of the views of each image; 0 is the image as it is.
    """

    images: int
    parts: Collection[str] = PARTS
    views: Sequence[int] = (0,)

    def __len__(self) -> int:
        return self.images * len(self.views)

    def __iter__(self) -> Iterator[Request]:
        for row in rows_of(paths.SPLIT):
            if row["split"] in self.parts:
                image = Request(paths.RAW / row["path"], row["sha256"])
                yield from (image._replace(view=view) for view in self.views)

    def __contains__(self, request: object) -> bool:
        return any(request == one for one in self)


@dataclass(frozen=True)
class SplitBlocks:
    """The requests of all images, some images at a time; those of a training image are followed by its views.

    Attributes
    ----------
    views : the numbers of the views of each training image.
    """

    views: Sequence[int]

    def __iter__(self) -> Iterator[list[Request]]:
        rows = iter(rows_of(paths.SPLIT))
        while some := list(islice(rows, IMAGES_AT_ONCE)):
            yield [
                Request(paths.RAW / row["path"], row["sha256"], view)
                for row in some
                for view in ((0, *self.views) if row["split"] == "train" else (0,))
            ]


class TableRequests(Sequence[Request]):
    """A request for each image of a table as it is, in the table's order; each is made when it is asked for."""

    def __init__(self, table: ImageTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> "TableRequests": ...
    def __getitem__(self, index: int | slice) -> "Request | TableRequests":
        if isinstance(index, slice):
            return TableRequests(self._table.take(np.arange(len(self))[index]))
        return Request(paths.RAW / self._table.paths[index], str(self._table.sha256[index]))


def count_images() -> tuple[int, int]:
    """Return how many images there are, and how many of them are for training. The table is not kept in memory."""
    parts = read_image_table().parts
    return len(parts), int((parts == "train").sum())
