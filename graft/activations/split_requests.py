"""The requests of the images of data/split.csv, read from the file as they are needed: they take no memory."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from graft.activations.requests import Request
from graft.core import paths
from graft.core.files import rows_of
from graft.images.table import PARTS, read_image_table

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


def count_images() -> tuple[int, int]:
    """Return how many images there are, and how many of them are for training. The table is not kept in memory."""
    parts = read_image_table().parts
    return len(parts), int((parts == "train").sum())
