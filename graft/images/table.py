"""The table of images that split wrote: which images, of which class, in which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, read_rows

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageTable:
    """Images with their classes and parts, a row each.

    Attributes
    ----------
    classes : the names of all classes, sorted; a label is an index into them.
    paths : str array (images,), below data/raw, with "/" between folders.
    labels : int64 array (images,), from 0.
    parts : str array (images,), train, validation or test.
    sha256 : str array (images,), of the image file.
    groups : str array (images,), the perceptual hash; images of one group stay in one part.
    """

    classes: tuple[str, ...]
    paths: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    sha256: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, name: str) -> ImageTable:
        """Return the images of one part, in the same order."""
        return self.rows(np.flatnonzero(self.parts == name))

    def rows(self, rows: np.ndarray) -> ImageTable:
        """Return the images of these rows, an int array, in its order."""
        columns = (column[rows] for column in (self.paths, self.labels, self.parts, self.sha256, self.groups))
        return ImageTable(self.classes, *columns)

    def files(self) -> list[Path]:
        """Return the path of each image file from the repository's folder."""
        return [paths.RAW / path for path in self.paths]

    def require_classes(self, classes: Sequence[str], source: Path) -> None:
        """Check that a file was made for these classes, in this order.

        Raises
        ------
        GraftError
            If it was made for others.
        """
        if tuple(classes) != self.classes:
            raise GraftError(
                f"{source}: its classes are {_listed(classes)}, those of {paths.CLASSES} are {_listed(self.classes)}; "
                "run `dvc repro`"
            )


def read_image_table() -> ImageTable:
    """Return data/split.csv with the classes of data/classes.json.

    Raises
    ------
    GraftError
        If a file is missing or broken, or the two do not agree.
    """
    rows, classes = read_rows(paths.SPLIT), read_json(paths.CLASSES)
    label_of = {name: label for label, name in enumerate(classes)}
    if unknown := {row["label"] for row in rows} ^ label_of.keys():
        raise GraftError(
            f"{paths.CLASSES}: it does not agree with {paths.SPLIT} about class {min(unknown)!r}; run `dvc repro`"
        )
    columns = (np.array([row[name] for row in rows]) for name in ("path", "split", "sha256", "group"))
    image_paths, parts, sha256, groups = columns
    labels = np.array([label_of[row["label"]] for row in rows], np.int64)
    return ImageTable(tuple(classes), image_paths, labels, parts, sha256, groups)


def _listed(classes: Sequence[str], most: int = 5) -> str:
    names = ", ".join(map(repr, classes[:most]))
    return f"{names} and {len(classes) - most} more" if len(classes) > most else names
