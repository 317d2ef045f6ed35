"""The image table: the path, class and part of every image, as `split` wrote them."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

import numpy as np

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.images.text_column import OpenFile, TextColumn, fields, taken

PARTS = ("train", "validation", "test")
# Of data/images.csv and data/split.csv.
COLUMNS = ("path", "label", "split", "sha256", "group")


@dataclass(frozen=True)
class ImageTable:
    """Images with their classes and parts, one row for each image.

    Of `read_image_table`, `paths`, `sha256` and `groups` are a TextColumn, which stays on disk: a row takes 24 bytes of
    memory.

    Attributes
    ----------
    classes : the names of all classes, in the order of data/classes.json; a label is an index into them.
    paths : str array (images,), below data/raw, with "/" between folders.
    labels : int64 array (images,), from 0.
    parts : array (images,) of text: train, validation or test.
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
        columns = (self.paths, self.labels, self.parts, self.sha256, self.groups)
        return ImageTable(self.classes, *taken(columns, indices))

    def with_at_most(self, part: str, most: int) -> ImageTable:
        """Return the table with at most so many images of one part, evenly spread over it; all others stay."""
        rows = np.flatnonzero(self.parts == part)
        if len(rows) <= most:
            return self
        left_out = np.delete(rows, np.linspace(0, len(rows) - 1, most).astype(int))
        return self.take(np.delete(np.arange(len(self)), left_out))

    def files(self) -> list[Path]:
        """Return the path of each image file from the repository's folder."""
        return list(self.each_file())

    def each_file(self) -> Iterator[Path]:
        """Yield what `files` returns."""
        return (paths.RAW / path for path in self.paths)

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
    columns, rows = _read_split()
    classes = read_json(paths.CLASSES)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise GraftError(f"{paths.CLASSES}: not a list of classes; run `dvc repro`")
    label_of = {name: label for label, name in enumerate(classes)}
    if differing := set(rows.labels) ^ label_of.keys():
        raise GraftError(
            f"{paths.CLASSES}: it and {paths.SPLIT} do not both have class {min(differing)!r}; run `dvc repro`"
        )
    place_of = np.array([label_of[label] for label in rows.labels], np.int64)
    labels, starts = place_of[np.frombuffer(rows.label, np.int32)], np.frombuffer(rows.start, np.int64)
    parts = np.array(PARTS, object)[np.frombuffer(rows.part, np.int8)]
    file = OpenFile(paths.SPLIT)
    image_paths, sha256, groups = (
        cast("np.ndarray", TextColumn(file, columns[name], starts)) for name in ("path", "sha256", "group")
    )
    return ImageTable(tuple(classes), image_paths, labels, parts, sha256, groups)


def with_few_for_validation(table: ImageTable, most: int) -> ImageTable:
    """Return a table with at most so many validation images, evenly spread; print how many if some are left out.

    Temperatures and the best epoch are chosen on these, and what the network gives for all of them is in memory.
    """
    few = table.with_at_most("validation", most)
    if left_out := len(table) - len(few):
        print(f"limits.rows_in_memory: {most} of {most + left_out} validation images are used", flush=True)
    return few


class _Split:
    """What is in memory of data/split.csv: for each row its label and its part as numbers, and where it starts."""

    def __init__(self) -> None:
        # In the order in which they come first.
        self.labels: dict[str, int] = {}
        self.label, self.part, self.start = array("i"), array("b"), array("q")


def _read_split() -> tuple[dict[str, int], _Split]:
    """Return the place of each column of data/split.csv, and its rows."""
    broken = GraftError(f"{paths.SPLIT}: broken, or not the table that split writes; run `dvc repro`")
    part_of = {part: number for number, part in enumerate(PARTS)}
    found = _Split()
    try:
        with paths.SPLIT.open("rb") as file:
            line = file.readline()
            header, start = fields(line), len(line)
            if not set(COLUMNS) <= set(header):
                raise broken
            columns = {name: header.index(name) for name in COLUMNS}
            last, label, part = max(columns.values()), columns["label"], columns["split"]
            for line in file:
                if line.strip(b"\r\n"):
                    values = fields(line)
                    if len(values) <= last or values[part] not in part_of:
                        raise broken
                    found.label.append(found.labels.setdefault(values[label], len(found.labels)))
                    found.part.append(part_of[values[part]])
                    found.start.append(start)
                start += len(line)
    except FileNotFoundError as error:
        raise GraftError(f"{paths.SPLIT}: no such file; `dvc repro` writes it") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise GraftError(f"{paths.SPLIT}: not a CSV file ({error}); `dvc repro` writes it anew") from error
    if not found.label:
        raise broken
    return columns, found
