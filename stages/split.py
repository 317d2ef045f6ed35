"""Stage split: assign each image to training, validation or test."""

from collections import Counter

from graft.core import paths
from graft.core.errors import run
from graft.core.files import read_rows, write_json, write_rows
from graft.data.split import split_images
from graft.images.table import COLUMNS, PARTS
from graft.settings import params


def main() -> None:
    parameters = params.load()
    rows = split_images(read_rows(paths.IMAGES), parameters.split)
    write_rows(paths.SPLIT, COLUMNS, rows)
    write_json(paths.CLASSES, sorted({row["label"] for row in rows}))
    counts = Counter(row["split"] for row in rows)
    print(", ".join(f"{counts[part]} {part}" for part in PARTS))


if __name__ == "__main__":
    run(main)
