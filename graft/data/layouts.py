"""How the archives of the catalog lay out their images, and how they become folders of class folders.

To add a layout: a function here, its name in `LAYOUTS`, and in `catalog.Entry.layout`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from graft.core.errors import GraftError
from graft.data import folders
from graft.settings.datasets import Entry

# Red, green and blue of 32 x 32 pixels, one after the other (cs.toronto.edu/~kriz/cifar.html).
CIFAR_SHAPE = (3, 32, 32)
# What setid.mat of Oxford's 102 flowers calls the parts.
PARTS = {"trnid": "train", "valid": "validation", "tstid": "test"}

Layout = Callable[[Path, Path, Mapping[str, Path], Sequence[str]], Path]


def arranged(entry: Entry, source: Path, target: Path, files: Mapping[str, Path]) -> Path:
    """Return the folder of class folders, or of train/, validation/, test/ folders of them, that an archive holds.

    Parameters
    ----------
    entry : of the catalog, or of an address.
    source : folder with the archive's content; its images may be moved out of it.
    target : folder that does not exist yet, for what has to be written.
    files : by name, what the entry lists beside the archive.

    Raises
    ------
    GraftError
        If the content is not of the entry's layout.
    """
    try:
        return LAYOUTS[entry.layout](source, target, files, entry.names or ())
    except (FileNotFoundError, IndexError, KeyError, ValueError) as error:
        raise GraftError(
            f"{entry.url}: not laid out as {entry.layout} says ({error}); is it the right file?"
        ) from error


def _class_folders(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
    return source


def _validation_is_test(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
    """Two parts, train/ and val/: what was kept apart is the test part here, and validation is drawn from train/."""
    top = folders.top(source)
    os.replace(_found(top, "val")[0], top / "test")
    return top


def _cifar(class_file: str, train: str, test: str, label_bytes: int) -> Layout:
    """Binary records: label bytes, of which the last is the finest, then the pixels."""

    def write(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
        names = _found(source, class_file)[0].read_text(encoding="ascii").split()
        for part, pattern in (("train", train), ("test", test)):
            for path in _found(source, pattern):
                records = np.fromfile(path, np.uint8).reshape(-1, label_bytes + np.prod(CIFAR_SHAPE))
                for number, record in enumerate(tqdm(records, path.stem, unit="", leave=False, disable=None)):
                    label = names[record[label_bytes - 1]]
                    _write_png(record[label_bytes:], target / part / label / f"{path.stem}_{number:05d}.png")
        return target

    return write


def _found(source: Path, pattern: str) -> list[Path]:
    found = sorted(source.rglob(pattern))
    if not found:
        raise FileNotFoundError(f"no {pattern} in it")
    return found


def _write_png(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels.reshape(CIFAR_SHAPE).transpose(1, 2, 0)))
    # Compressed bytes would change with the compression library's version.
    image.save(path, compress_level=0)


def _in_order_of_class(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
    """Numbered images: as many of the first class, then as many of the second, and so on."""
    paths = _found(source, "image_*.jpg")
    for path in paths:
        _move(path, target / names[(_number(path) - 1) * len(names) // len(paths)])
    return target


def _labels_and_parts(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
    """Numbered images; their labels, from 1, in imagelabels.mat, and the numbers of each part in setid.mat."""
    from scipy.io import loadmat

    labels = loadmat(files["imagelabels.mat"])["labels"].ravel()
    numbers = loadmat(files["setid.mat"])
    part_of = {number: part for key, part in PARTS.items() for number in numbers[key].ravel().tolist()}
    for path in _found(source, "image_*.jpg"):
        number = _number(path)
        _move(path, target / part_of[number] / names[labels[number - 1] - 1])
    return target


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _move(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(path, folder / path.name)


LAYOUTS: dict[str, Layout] = {
    "class_folders": _class_folders,
    "validation_is_test": _validation_is_test,
    "cifar10": _cifar("batches.meta.txt", "data_batch_*.bin", "test_batch.bin", 1),
    "cifar100": _cifar("fine_label_names.txt", "train.bin", "test.bin", 2),
    "in_order_of_class": _in_order_of_class,
    "labels_and_parts": _labels_and_parts,
}
