"""relabelled.csv: the labels that the user has corrected. `graft relabel` writes it, and `split` applies it.

A correction names the SHA-256 of the image file. So it holds wherever the file lies, and for each exact copy of it.
"""

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graft.core.errors import GraftError, nearest
from graft.core.files import Rows, write_rows

COLUMNS = ("path", "sha256", "label")
# In place of a label: the image is left out.
LEAVE_OUT = "-"


@dataclass(frozen=True)
class Correction:
    """The right label of an image file.

    Attributes
    ----------
    path : of the image when it was corrected, for people.
    label : a class, or `LEAVE_OUT`.
    """

    path: str
    label: str


def read_corrections(path: Path) -> dict[str, Correction]:
    """Return the correction of each image file by its SHA-256; {} if there is no such file.

    Raises
    ------
    GraftError
        If the file is not as `write_corrections` writes it, or corrects an image twice.
    """
    if not os.path.lexists(path):
        return {}
    if not path.is_file():
        raise GraftError(f"{path}: not a file that can be read; `git checkout {path}` restores it")
    try:
        # A spreadsheet may add the byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except UnicodeDecodeError as error:
        raise GraftError(f"{path}: not in UTF-8 ({error.reason}); `git checkout {path}` restores it") from error
    except csv.Error as error:
        raise GraftError(f"{path}: not CSV ({error}); `git checkout {path}` restores it") from error
    corrections: dict[str, Correction] = {}
    for line, row in enumerate(rows, 2):
        values = [row.get(name) or "" for name in COLUMNS]
        if not all(values):
            raise GraftError(f"{path}: line {line} has no {COLUMNS[values.index('')]}; it needs {', '.join(COLUMNS)}")
        sha256 = values[1].lower()
        if sha256 in corrections:
            raise GraftError(f"{path}: line {line} corrects {values[0]} a second time; remove one of the two lines")
        corrections[sha256] = Correction(values[0], values[2].strip())
    return corrections


def write_corrections(path: Path, corrections: Mapping[str, Correction]) -> None:
    """Write relabelled.csv, sorted by path: a further correction is one more line for git."""
    rows = [{"path": one.path, "sha256": sha256, "label": one.label} for sha256, one in corrections.items()]
    write_rows(path, COLUMNS, sorted(rows, key=lambda row: (row["path"], row["sha256"])))


def require_class(label: str, classes: Collection[str], place: str) -> None:
    """Check that a corrected label is one of the classes, or leaves the image out.

    Parameters
    ----------
    label : that the user wrote.
    classes : those of the folders.
    place : what an error starts with.

    Raises
    ------
    GraftError
        If it is neither.
    """
    if label != LEAVE_OUT and label not in classes:
        hint = nearest(label, classes)
        raise GraftError(f"{place}: {label!r} is no class; {hint} ({LEAVE_OUT} leaves the image out)")


@dataclass(frozen=True)
class Corrected:
    """Images with corrected labels.

    Attributes
    ----------
    images : rows of data/images.csv, without those that are left out; each loop goes through all of them.
    relabelled, left_out : how many images have another label than their folder, and how many are left out.
    unused : the paths of corrections of no image, sorted.
    empty : the classes that no image is left of, sorted.
    """

    images: Iterable[dict[str, str]]
    relabelled: int
    left_out: int
    unused: list[str]
    empty: list[str]


def correct(images: Iterable[dict[str, str]], corrections: Mapping[str, Correction], source: Path) -> Corrected:
    """Return the rows of data/images.csv with the corrected labels.

    Parameters
    ----------
    images : rows of data/images.csv, which are gone through more than once.
    corrections : of `read_corrections`.
    source : the file of the corrections, for errors.

    Raises
    ------
    GraftError
        If an image is to get a label that is no class, or fewer than two classes keep an image.
    """
    classes = {image["label"] for image in images}
    left, present, relabelled, left_out = set(), set(), 0, 0
    for image in images:
        found = corrections.get(image["sha256"])
        if found:
            require_class(found.label, classes, f"{source}: {found.path}")
            present.add(image["sha256"])
            left_out += found.label == LEAVE_OUT
            relabelled += found.label not in (LEAVE_OUT, image["label"])
        if not found or found.label != LEAVE_OUT:
            left.add(found.label if found else image["label"])
    if len(left) < 2 <= len(classes):
        count = f"{len(left)} class{'es' * (len(left) != 1)}"
        raise GraftError(f"{source}: it leaves images of {count}; two or more are needed, so remove some of its lines")
    unused = sorted(one.path for sha256, one in corrections.items() if sha256 not in present)
    corrected = Rows(lambda: _corrected(images, corrections)) if present else images
    return Corrected(corrected, relabelled, left_out, unused, sorted(classes - left))


def _corrected(images: Iterable[dict[str, str]], corrections: Mapping[str, Correction]) -> Iterator[dict[str, str]]:
    for image in images:
        found = corrections.get(image["sha256"])
        if not found:
            yield image
        elif found.label != LEAVE_OUT:
            yield image | {"label": found.label}
