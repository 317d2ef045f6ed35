"""The layouts of the catalog's archives, and how each becomes a folder of class folders.

To add a layout: write a function here, and put its name in `LAYOUTS` and in `datasets.Entry.layout`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from graft.core.errors import GraftError
from graft.core.progress import Progress
from graft.data import folders
from graft.settings.datasets import Entry

# Red, green and blue of 32 x 32 pixels, one after the other (cs.toronto.edu/~kriz/cifar.html).
CIFAR_SHAPE = (3, 32, 32)
# The names of the parts in setid.mat of Oxford's 102 flowers.
FLOWER_PARTS = {"trnid": "train", "valid": "validation", "tstid": "test"}

# Arguments: folder with the content, folder to write to, other files by name, names of the classes.
Layout = Callable[[Path, Path, Mapping[str, Path], Sequence[str]], Path]


def arrange(entry: Entry, source: Path, target: Path, files: Mapping[str, Path]) -> Path:
    """Arrange an archive's images as class folders, or train/, validation/, test/ folders of them; return the folder.

    Parameters
    ----------
    entry : of the catalog, or of an address.
    source : folder with the archive's content; images may be moved out of it.
    target : folder that does not exist yet, for images that are moved or written.
    files : the files that the entry lists beside the archive, by name.

    Raises
    ------
    GraftError
        If the content does not have the entry's layout.
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
    """Two parts, train/ and val/: val/ becomes the test part, and split takes the validation part from train/."""
    folder = folders.skip_wrappers(source)
    os.replace(_find(folder, "val")[0], folder / "test")
    return folder


def _cifar(class_file: str, train: str, test: str, label_bytes: int) -> Layout:
    """Binary records: label bytes, the last one of the finest classes, then the pixels."""

    def write(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
        names = _find(source, class_file)[0].read_text(encoding="ascii").split()
        for part, pattern in (("train", train), ("test", test)):
            for path in _find(source, pattern):
                records = np.fromfile(path, np.uint8).reshape(-1, label_bytes + np.prod(CIFAR_SHAPE))
                for number, record in enumerate(Progress(records, path.stem)):
                    label = names[record[label_bytes - 1]]
                    _write_png(record[label_bytes:], target / part / label / f"{path.stem}_{number:05d}.png")
        return target

    return write


def _find(source: Path, pattern: str) -> list[Path]:
    paths = sorted(source.rglob(pattern))
    if not paths:
        raise FileNotFoundError(f"no {pattern} in it")
    return paths


def _write_png(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels.reshape(CIFAR_SHAPE).transpose(1, 2, 0)))
    # Compressed bytes would change with the compression library's version.
    image.save(path, compress_level=0)


def _in_order_of_class(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
    """Numbered images, class after class, the same number of each."""
    paths = _find(source, "image_*.jpg")
    for path in paths:
        _move(path, target / names[(_number(path) - 1) * len(names) // len(paths)])
    return target


def _labels_and_parts(source: Path, target: Path, files: Mapping[str, Path], names: Sequence[str]) -> Path:
    """Numbered images; imagelabels.mat has their labels, from 1, and setid.mat the numbers of each part."""
    from scipy.io import loadmat

    labels = loadmat(files["imagelabels.mat"])["labels"].ravel()
    numbers = loadmat(files["setid.mat"])
    part_of = {number: part for key, part in FLOWER_PARTS.items() for number in numbers[key].ravel().tolist()}
    for path in _find(source, "image_*.jpg"):
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
