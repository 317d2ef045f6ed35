"""Stage split: assign each image to training, validation or test."""

import sys
from collections import Counter

from graft.core import paths
from graft.core.errors import run
from graft.core.files import read_rows, write_json, write_rows
from graft.data.relabelled import correct, read_corrections
from graft.data.split import NAMED, few_images, leaks, split_images
from graft.images.table import COLUMNS, PARTS
from graft.settings import params


def corrected_images() -> list[dict[str, str]]:
    """Return the rows of data/images.csv with the labels that relabelled.csv corrects, and print how many."""
    found = correct(read_rows(paths.IMAGES), read_corrections(paths.RELABELLED), paths.RELABELLED)
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
    rows = split_images(images, parameters.split)
    write_rows(paths.SPLIT, COLUMNS, rows)
    write_json(paths.CLASSES, sorted({row["label"] for row in rows}))
    counts = Counter(row["split"] for row in rows)
    warnings = leaks(rows) + few_images(rows, {image["split"] for image in images})
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    total = f"; {len(warnings)} warning{'s' * (len(warnings) > 1)}" if warnings else ""
    print(", ".join(f"{counts[part]} {part}" for part in PARTS) + total)


if __name__ == "__main__":
    run(main)
