"""Stage split: assign each image to training, validation or test."""

import sys
from collections.abc import Iterable

from graft.core import paths
from graft.core.errors import run
from graft.core.files import rows_of, write_json, write_rows
from graft.data.relabelled import correct, read_corrections
from graft.data.split import NAMED, Counts, Row, few_images, leaks, split_images
from graft.images.table import COLUMNS, PARTS
from graft.settings import params


def corrected_images() -> Iterable[Row]:
    """Return the rows of data/images.csv with the labels that relabelled.csv corrects, and print how many.

    They are read again in each loop: memory does not grow with the number of images.
    """
    found = correct(rows_of(paths.IMAGES), read_corrections(paths.RELABELLED), paths.RELABELLED)
    if found.relabelled or found.left_out:
        print(f"{paths.RELABELLED}: labels corrected: {found.relabelled}, images left out: {found.left_out}")
    if found.unused:
        named = ", ".join(found.unused[:NAMED]) + (", ..." if len(found.unused) > NAMED else "")
        count = f"{len(found.unused)} correction{'s' * (len(found.unused) > 1)}"
        print(f"warning: {paths.RELABELLED}: no image is left for {count} ({named})", file=sys.stderr)
    if found.empty:
        print(f"{paths.RELABELLED}: no image is left of class {', '.join(map(repr, found.empty))}")
    return found.images


def main() -> None:
    parameters = params.load()
    images = corrected_images()
    counts = Counts()
    # The table is replaced only if it has images of all parts.
    write_rows(paths.SPLIT, COLUMNS, split_images(images, parameters.split, counts))
    write_json(paths.CLASSES, sorted({label for label, _ in counts}))
    given = {image["split"] for image in images}
    # Without parts of its own, a data set has no copies in two parts.
    warnings = (leaks(rows_of(paths.SPLIT)) if given != {""} else []) + few_images(counts, given)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    total = f"; {len(warnings)} warning{'s' * (len(warnings) > 1)}" if warnings else ""
    of_part = {part: sum(count for (_, name), count in counts.items() if name == part) for part in PARTS}
    print(", ".join(f"{of_part[part]} {part}" for part in PARTS) + total)


if __name__ == "__main__":
    run(main)
