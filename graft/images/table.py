"""The image table: the path, class and part of every image, as `split` wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, read_rows

PARTS = ("train", "validation", "test")
# Of data/images.csv and data/split.csv.
COLUMNS = ("path", "label", "split", "sha256", "group")


@dataclass(frozen=True)
class ImageTable:
    """Images with their classes and parts, one row for each image.

    Attributes
    ----------
    classes : the names of all classes, in the order of data/classes.json; a label is an index into them.
    paths : str array (images,), below data/raw, with "/" between folders.
    labels : int64 array (images,), from 0.
    parts : str array (images,), train, validation or test.
    sha256 : str array (images,), of the image file.
    groups : str array (images,), the same for copies of one picture.
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
        return self.take(np.flatnonzero(self.parts == name))

    def take(self, indices: np.ndarray) -> ImageTable:
        """Return the images at these indices, an int array, in its order; all classes stay."""
        columns = (column[indices] for column in (self.paths, self.labels, self.parts, self.sha256, self.groups))
        return ImageTable(self.classes, *columns)

    def files(self) -> list[Path]:
        """Return the path of each image file from the repository's folder."""
        return [paths.RAW / path for path in self.paths]

    def require_classes(self, classes: Sequence[str], source: Path) -> None:
        """Check that a file was made for the classes of this table, in the same order.

        Parameters
        ----------
        classes : that the file was made for.
        source : the file.

        Raises
        ------
        GraftError
            If they differ.
        """
        for place, pair in enumerate(zip_longest(classes, self.classes), 1):
            if pair[0] != pair[1]:
                found, expected = ("none" if name is None else repr(name) for name in pair)
                raise GraftError(
                    f"{source}: made for other classes than {paths.CLASSES}: class {place} is {found}, not {expected}; "
                    "run `dvc repro`"
                )


def read_image_table() -> ImageTable:
    """Return the images of data/split.csv, with the classes of data/classes.json.

    Raises
    ------
    GraftError
        If a file is missing or broken, or the two do not have the same classes.
    """
    rows, classes = read_rows(paths.SPLIT), read_json(paths.CLASSES)
    if not rows or any(None in (row.get(name) for name in COLUMNS) or row["split"] not in PARTS for row in rows):
        raise GraftError(f"{paths.SPLIT}: broken, or not the table that split writes; run `dvc repro`")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise GraftError(f"{paths.CLASSES}: not a list of classes; run `dvc repro`")
    label_of = {name: label for label, name in enumerate(classes)}
    if differing := {row["label"] for row in rows} ^ label_of.keys():
        raise GraftError(
            f"{paths.CLASSES}: it and {paths.SPLIT} do not both have class {min(differing)!r}; run `dvc repro`"
        )
    labels = np.array([label_of[row["label"]] for row in rows], np.int64)
    image_paths, parts, sha256, groups = (
        np.array([row[name] for row in rows]) for name in ("path", "split", "sha256", "group")
    )
    return ImageTable(tuple(classes), image_paths, labels, parts, sha256, groups)
