"""`graft predict --sort`: copies of images in a folder for each class."""

import filecmp
import io
import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import BinaryIO

from graft.core.errors import GraftError
from graft.images import loader, shards
from graft.serving.classifier import Prediction

UNSURE = "unsure"


class SortedCopies:
    """Copies images into a folder for each class, and into `unsure` where the model is not sure.

    Parameters
    ----------
    folder : gets the class folders.
    labels : the classes; each is the name of its folder, with `_` for `/`.

    Raises
    ------
    GraftError
        If a label cannot be the name of a folder, or two labels give the same name.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._folder = folder
        self._names = {label: _folder_name(label) for label in labels}
        self._labels = list(labels)
        taken = Counter(name.casefold() for name in [*self._names.values(), UNSURE])
        if twice := [label for label, name in self._names.items() if taken[name.casefold()] > 1]:
            raise GraftError(
                f"--sort: {', '.join(map(repr, twice))} would share a folder with another class or {UNSURE}/"
            )
        self._copied: Counter[str] = Counter()
        self._already_there = 0

    def add(self, image: Path, prediction: Prediction) -> None:
        """Copy an image into the folder of its class, or into `unsure`.

        An image is unsure if its prediction set does not have exactly one class, or it is like none of the classes. A
        model without both is always sure. Nothing is overwritten: a file that has another content gets a number behind
        its name; one that has the same content is not copied again.
        """
        chosen = prediction.prediction_set
        if prediction.is_unknown or (chosen is not None and len(chosen) != 1):
            name = UNSURE
        else:
            name = self._names[self._labels[int(prediction.probabilities.argmax())]]
        folder = self._folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise GraftError(
                f"--sort {error.filename}: a file or a broken link, where a folder has to be; remove it"
            ) from error
        if _copy(image, folder):
            self._copied[name] += 1
        else:
            self._already_there += 1

    def summary(self) -> str:
        """Return one line with the number of copies in each folder, the largest first."""
        parts = [f"{number:,} to {name}" for name, number in self._copied.most_common()]
        if self._already_there:
            parts.append(f"{self._already_there:,} there already")
        return f"{self._folder}: {', '.join(parts) or 'nothing copied'}"


def _folder_name(label: str) -> str:
    name = label.replace("/", "_")
    if name in ("", ".", "..") or "\0" in name:
        raise GraftError(f"--sort: the class {label!r} cannot be the name of a folder")
    return name


def _copy(image: Path, folder: Path) -> bool:
    """Copy a file into a folder under a name that is free; return False where a file of that content has the name."""
    for number in count(1):
        target = folder / (image.name if number == 1 else f"{image.stem}-{number}{image.suffix}")
        try:
            with _opened(image) as source, target.open("xb") as copy:
                try:
                    shutil.copyfileobj(source, copy)
                except BaseException:
                    # Half a copy would pass for an image.
                    target.unlink(missing_ok=True)
                    raise
            if not shards.is_inside(image):
                shutil.copystat(image, target)
        except FileExistsError:
            if target.is_file() and _is_same(image, target):
                return False
            continue
        return True
    raise AssertionError("count has no end")


def _opened(image: Path) -> BinaryIO:
    return io.BytesIO(loader.content(image)) if shards.is_inside(image) else image.open("rb")


def _is_same(image: Path, copy: Path) -> bool:
    if shards.is_inside(image):
        return copy.read_bytes() == loader.content(image)
    return filecmp.cmp(image, copy, shallow=False)
