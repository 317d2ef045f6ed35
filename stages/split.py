"""Stage split: assign each image to training, validation or test."""

import sys
from collections import Counter

from graft.core import paths
from graft.core.errors import run
from graft.core.files import read_rows, write_json, write_rows
from graft.data.split import few_images, split_images
from graft.images.table import COLUMNS, PARTS
from graft.settings import params


def main() -> None:
    parameters = params.load()
    images = read_rows(paths.IMAGES)
    rows = split_images(images, parameters.split)
    write_rows(paths.SPLIT, COLUMNS, rows)
    write_json(paths.CLASSES, sorted({row["label"] for row in rows}))
    counts = Counter(row["split"] for row in rows)
    warnings = few_images(rows, {image["split"] for image in images})
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    total = f"; {len(warnings)} warning{'s' * (len(warnings) > 1)}" if warnings else ""
    print(", ".join(f"{counts[part]} {part}" for part in PARTS) + total)


if __name__ == "__main__":
    run(main)
