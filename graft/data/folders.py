"""Folders of images: where the classes are, and what each file is."""

import hashlib
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from graft.core.errors import GraftError
from graft.data.perceptual_hash import GRID, fingerprint
from graft.images import loader

# What a folder calls its parts, and what this project calls them.
PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IGNORED = ("__MACOSX",)
COLUMNS = ("path", "label", "split", "sha256", "group")


@dataclass(frozen=True)
class Found:
    """An image file below a folder.

    Attributes
    ----------
    path : relative to the folder.
    label : its class, the name of the folder it is in.
    split : train, validation or test, as the folder brings it; empty where it brings none.
    """

    path: Path
    label: str
    split: str


@dataclass(frozen=True)
class Image:
    """A readable image, or why it is none.

    Attributes
    ----------
    found : where it is.
    sha256 : of the file's bytes, 64 hexadecimal digits.
    group : its perceptual hash; pictures of one group look alike, and are mostly copies of each other.
    refused : why it can't be used; empty for a readable image.
    """

    found: Found
    sha256: str = ""
    group: str = ""
    refused: str = ""

    def row(self) -> dict[str, str]:
        """Return the image as a row of data/images.csv, by `COLUMNS`."""
        values = (self.found.path.as_posix(), self.found.label, self.found.split, self.sha256, self.group)
        return dict(zip(COLUMNS, values, strict=True))

    def refusal(self) -> dict[str, str]:
        """Return the image as an entry of `refused` in data/raw.json: its path and the reason."""
        # A name that is not UTF-8 is one of the reasons.
        path = self.found.path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
        return {"path": path, "reason": self.refused}


def top(folder: Path) -> Path:
    """Return the folder that holds the classes or parts: the first one below `folder` that is not a mere wrapper."""
    while True:
        subfolders = _subfolders(folder)
        holds_images = any(loader.is_image_name(path) for path in folder.iterdir())
        if len(subfolders) != 1 or holds_images or not _subfolders(subfolders[0]):
            return folder
        folder = subfolders[0]


def find_images(folder: Path, name: str) -> list[Found]:
    """Return the image files of a folder of class folders, or of train/, val/, test/ folders of them, sorted by path.

    Parameters
    ----------
    folder : what `top` returned.
    name : what an error calls it.

    Raises
    ------
    GraftError
        If it has fewer than two classes, one without any image, no training part, or folders that are no parts beside
        those that are.
    """
    subfolders = _subfolders(folder)
    has_parts = _has_parts(subfolders, name)
    classes = [(sub, "") for sub in subfolders]
    if has_parts:
        classes = [(sub, PARTS[part.name.lower()]) for part in subfolders for sub in _subfolders(part)]
    labels = {sub.name for sub, _ in classes}
    if len(labels) < 2:
        hint = "; it holds images itself: give the folder above" if not labels and _images(folder) else ""
        raise GraftError(
            f"{name}: {len(labels)} class folder{'s' * (len(labels) != 1)} found; "
            f"it must hold two or more, or train/ and test/ folders that do{hint}"
        )
    if has_parts and not any(split == "train" for _, split in classes):
        raise GraftError(f"{name}: it has {', '.join(sub.name for sub in subfolders)}, but no train/ folder")
    found = [Found(path.relative_to(folder), sub.name, split) for sub, split in classes for path in _images(sub)]
    require_each(labels, {image.label for image in found}, name)
    return sorted(found, key=lambda image: image.path.as_posix())


def other_files(folder: Path) -> dict[str, int]:
    """Return how many files below the subfolders of a folder have no image's name, by suffix in small letters."""
    return loader.other_files(path for subfolder in _subfolders(folder) for path in _files(subfolder))


def require_each(labels: set[str], filled: set[str], name: str) -> None:
    """Raise a `GraftError` unless each of the labels is among those that have a readable image."""
    if empty := sorted(labels - filled):
        raise GraftError(
            f"{name}: no readable image in class folder {', '.join(map(repr, empty))}; fill or remove it "
            f"(known are {', '.join(loader.SUFFIXES)})"
        )


def _has_parts(subfolders: list[Path], name: str) -> bool:
    """Say whether the folders are train/, val/, test/; a class may be called so too, but then holds no folders."""
    parts = [sub for sub in subfolders if sub.name.lower() in PARTS]
    others = [sub.name for sub in subfolders if sub not in parts]
    if parts and others and any(_subfolders(part) for part in parts):
        raise GraftError(f"{name}: beside {parts[0].name}/ there is {others[0]}/, which is no part; remove one of them")
    return bool(parts) and not others


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_ignored(path.name))


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _images(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if loader.is_image_name(path)]


def _files(folder: Path) -> list[Path]:
    found = []
    for parent, subfolders, names in os.walk(folder):
        # What is taken out of the list is not walked.
        subfolders[:] = [name for name in subfolders if not _is_ignored(name)]
        found += [Path(parent, name) for name in names if not _is_ignored(name)]
    return found


def examine(folder: Path, found: Found) -> Image:
    """Read an image file whole: its checksum and perceptual hash, or why it is refused."""
    # A line end, say: lists have a line per image.
    if any(unicodedata.category(character) == "Cc" for character in found.path.as_posix()):
        return Image(found, refused="its name has a control character")
    try:
        found.path.as_posix().encode("utf-8")
        data = (folder / found.path).read_bytes()
        picture = loader.decode(data, GRID, "")
    except loader.UnreadableImageError as error:
        return Image(found, refused=str(error).removeprefix(": "))
    except UnicodeEncodeError:
        return Image(found, refused="its name is not UTF-8")
    except OSError as error:
        return Image(found, refused=f"cannot be read ({error.strerror})")
    return Image(found, hashlib.sha256(data).hexdigest(), fingerprint(picture))
