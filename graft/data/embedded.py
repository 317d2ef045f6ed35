"""Data sets that an installed package ships, written out as folders of images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# The grey levels of the UCI digits run from 0 to 16.
DIGIT_LEVELS = 16


def _write_digits(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = np.rint(pixels * (255 / DIGIT_LEVELS)).astype(np.uint8)
        # Compressed bytes would change with the compression library's version.
        Image.fromarray(grey).save(path, compress_level=0)


WRITERS: dict[str, Callable[[Path], None]] = {"sklearn.digits": _write_digits}


def write(name: str, folder: Path) -> None:
    """Write the images of an embedded data set into class folders below `folder`."""
    WRITERS[name](folder)
