"""Data sets with few training images, or unequal classes, and a large test part: for docs/accuracy.md.

    python -m benchmarks.datasets.few_images flower_photos sets/few --train 20 --test-from 100
    python -m benchmarks.datasets.few_images flower_photos sets/unequal --train 400 200 100 40 20 --test-from 400

The images of each class are sorted by the SHA-256 of their files. The first ones are for training, those from a later
place on for testing: sets with different numbers of training images then have the same test images.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from graft.core.files import sha256_of
from graft.images import loader


def parts_of(folder: Path, train: int, test_from: int) -> dict[str, list[Path]]:
    """Return the image files of a class for each part.

    Raises
    ------
    SystemExit
        If there are not enough images.
    """
    paths = sorted(filter(loader.is_image_name, folder.iterdir()), key=sha256_of)
    if not train <= test_from < len(paths):
        raise SystemExit(
            f"error: {folder}: {len(paths)} images are not enough for --train {train} and --test-from {test_from}"
        )
    return {"train": paths[:train], "test": paths[test_from:]}


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted.

    Raises
    ------
    SystemExit
        If there are none.
    """
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not found:
        raise SystemExit(f"error: {folder}: no folder of class folders")
    return found


def numbers(given: Sequence[int], classes: int) -> list[int]:
    """Return a number for each class: the given numbers, or the one number for all.

    Raises
    ------
    SystemExit
        If there are too many or too few.
    """
    if len(given) not in (1, classes):
        raise SystemExit(
            f"error: --train: {len(given)} numbers for {classes} classes; give one for each, or one for all"
        )
    return list(given) * (classes // len(given))


def main() -> None:
    """Copy the files to train/ and test/ folders of class folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="a folder of class folders")
    parser.add_argument("folder", type=Path, help="made here")
    parser.add_argument("--train", type=int, nargs="+", required=True, help="images of each class, in their order")
    parser.add_argument("--test-from", type=int, required=True, help="the place, from 0, of the first test image")
    options = parser.parse_args()
    if options.folder.exists():
        raise SystemExit(f"error: {options.folder}: it exists already; give a new folder")
    classes = class_folders(options.images)
    for folder, train in zip(classes, numbers(options.train, len(classes)), strict=True):
        for part, paths in parts_of(folder, train, options.test_from).items():
            target = options.folder / part / folder.name
            target.mkdir(parents=True)
            for path in paths:
                shutil.copyfile(path, target / path.name)
        print(f"{folder.name}: {train} to train on, {len(paths)} to test on")


if __name__ == "__main__":
    main()
