"""graft relabel: take the labels that a user has corrected in a table of images into relabelled.csv.

The table is metrics/suspects.csv, or a copy of it, or any table with the columns path and corrected. No image is moved:
`split` applies relabelled.csv when `dvc repro` runs next.
"""

import csv
import io
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_rows
from graft.data.relabelled import LEAVE_OUT, Correction, read_corrections, require_class, write_corrections

EXAMPLE = "graft relabel metrics/suspects.csv"
CORRECTED = "corrected"
# How many paths a message names.
NAMED = 5


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table with the column `corrected`, and path or sha256, as a spreadsheet may save it.

    Raises
    ------
    GraftError
        If the file is missing, is not CSV in UTF-8, or lacks these columns.
    """
    # A pipe is a table too: graft relabel <(...).
    if path.is_char_device() or path.is_block_device():
        raise GraftError(f"{path}: a device, not a table; give a CSV file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise GraftError(f"{path}: no such file; `dvc repro` writes {paths.SUSPECTS}") from error
    except UnicodeDecodeError as error:
        raise GraftError(f"{path}: not a table in UTF-8; save it as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        # Strict: else a quotation mark without its partner would swallow all lines that follow.
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise GraftError(f"{path}: not CSV ({error}); save it as CSV in UTF-8") from error
    if CORRECTED not in columns or not {"path", "sha256"} & set(columns):
        raise GraftError(
            f"{path}: it needs the columns path and {CORRECTED}, found {', '.join(columns) or 'none'}; copy "
            f"{paths.SUSPECTS}"
        )
    return rows


def corrections_of(rows: list[dict[str, str]], images: list[dict[str, str]], source: Path) -> dict[str, Correction]:
    """Return the corrections of a table by the SHA-256 of the image files.

    Parameters
    ----------
    rows : of the table; where `corrected` is empty, nothing is corrected.
    images : rows of data/images.csv.
    source : the file of the table, for errors.

    Raises
    ------
    GraftError
        If a label is no class, an image is unknown or is given two labels, or path and SHA-256 are of two images.
    """
    classes = {image["label"] for image in images}
    by_sha256 = {image["sha256"]: image for image in images}
    by_path = {image["path"]: image for image in images}
    found: dict[str, Correction] = {}
    for line, row in _filled(rows):
        label = row[CORRECTED].strip()
        place = f"{source}: line {line}"
        require_class(label, classes, place)
        of_sha256 = by_sha256.get((row.get("sha256") or "").strip().lower())
        of_path = by_path.get((row.get("path") or "").strip())
        # The path first: exact copies share the SHA-256.
        image = of_path or of_sha256
        if image is None:
            named = row.get("path") or row.get("sha256")
            raise GraftError(f"{place}: {paths.IMAGES} has no image {named!r}; remove the line, or run `dvc repro`")
        if of_sha256 and of_sha256["sha256"] != image["sha256"]:
            # A spreadsheet that sorts some of the columns does this.
            raise GraftError(
                f"{place}: its path is of {image['path']}, its sha256 of {of_sha256['path']}; copy {paths.SUSPECTS} "
                "again"
            )
        one = Correction(image["path"], label)
        if found.setdefault(image["sha256"], one).label != label:
            raise GraftError(f"{place}: {image['path']} has another label in an earlier line; keep one of the two")
    return found


def _filled(rows: list[dict[str, str]]) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in enumerate(rows, 2):
        if (row[CORRECTED] or "").strip():
            yield line, row


def merged(
    earlier: Mapping[str, Correction], new: Mapping[str, Correction], images: list[dict[str, str]]
) -> dict[str, Correction]:
    """Return the earlier corrections with the new ones in their place; none that gives the label of the folder.

    Exact copies of a picture in two class folders need a correction, whichever of both labels is right.
    """
    labels: dict[str, set[str]] = {}
    for image in images:
        labels.setdefault(image["sha256"], set()).add(image["label"])
    return {sha256: one for sha256, one in {**earlier, **new}.items() if labels.get(sha256) != {one.label}}


def exact_copies(rows: list[dict[str, str]], new: Mapping[str, Correction], images: list[dict[str, str]]) -> list[str]:
    """Return the paths of the exact copies that get a correction too, though the table does not name them.

    Parameters
    ----------
    rows : of the table.
    new : its corrections, of `corrections_of`.
    images : rows of data/images.csv.
    """
    named = {one.path for one in new.values()} | {(row.get("path") or "").strip() for _, row in _filled(rows)}
    return [image["path"] for image in images if image["sha256"] in new and image["path"] not in named]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft relabel`."""
    parser.add_argument(
        "table", type=Path, help=f"CSV, such as {paths.SUSPECTS}: write the right class, or {LEAVE_OUT} to leave the "
        f"image out, in its column {CORRECTED}"
    )  # fmt: skip


def main(arguments: Namespace) -> None:
    """Add the corrections of a table to relabelled.csv, and print how many it has."""
    images = read_rows(paths.IMAGES)
    rows = table(arguments.table)
    new = corrections_of(rows, images, arguments.table)
    if not new:
        print(f"{arguments.table}: no label in the column {CORRECTED}; nothing is changed")
        return
    earlier = read_corrections(paths.RELABELLED)
    corrections = merged(earlier, new, images)
    write_corrections(paths.RELABELLED, corrections)
    labels = [new[image["sha256"]].label for image in images if image["sha256"] in new]
    left_out = labels.count(LEAVE_OUT)
    print(
        f"labels corrected: {len(labels) - left_out}, images left out: {left_out}; {paths.RELABELLED} now has "
        f"{len(corrections)} lines, it had {len(earlier)}. `dvc repro` applies them, `git checkout {paths.RELABELLED}` "
        "undoes them"
    )
    if copies := exact_copies(rows, new, images):
        named = ", ".join(copies[:NAMED]) + (", ..." if len(copies) > NAMED else "")
        print(f"these include exact copies that {arguments.table} does not name: {len(copies)} ({named})")
