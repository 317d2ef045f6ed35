"""Folders of images: which folders are the classes and parts, and which files are images."""

import os
from dataclasses import dataclass
from pathlib import Path

from graft.core.errors import GraftError
from graft.images import loader

# The part of this project for each name that a data set may give to a folder, in small letters.
PART_OF_FOLDER = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IGNORED = ("__MACOSX",)


@dataclass(frozen=True)
class ImageFile:
    """A file with an image's name in a class folder.

    Attributes
    ----------
    path : relative to the data set's folder.
    label : its class, the name of the class folder.
    split : train, validation or test; empty where the data set has no parts.
    """

    path: Path
    label: str
    split: str


def check_links(folder: Path, dataset: str) -> None:
    """Check that DVC sees every change below a folder.

    DVC hashes the file that a link leads to. It does not look into a folder behind a link, and fails at a link that
    leads nowhere. Ignored folders are not checked.

    Parameters
    ----------
    folder : of images; it may be a link itself.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        If there is such a link.
    """
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not _is_ignored(name))
        links = [path for name in (*subfolders, *sorted(names)) if (path := Path(parent, name)).is_symlink()]
        for link in links:
            place = f"{dataset}: {link.relative_to(folder)} is a link"
            if link.is_dir():
                raise GraftError(f"{place} to a folder, where DVC sees no change; put the folder itself in its place")
            if not link.exists():
                raise GraftError(f"{place} that leads nowhere; remove it")


def skip_wrappers(folder: Path) -> Path:
    """Return the folder with the classes or parts: `folder`, or the first one below that is more than a wrapper.

    A wrapper holds one folder, which has folders itself, and no image.
    """
    while True:
        subfolders = _subfolders(folder)
        has_images = any(loader.is_image_name(path) for path in folder.iterdir())
        if len(subfolders) != 1 or has_images or not _subfolders(subfolders[0]):
            return folder
        folder = subfolders[0]


def find_images(folder: Path, dataset: str) -> list[ImageFile]:
    """Return the image files of a folder of class folders, or of train/, val/, test/ folders of them, sorted by path.

    Parameters
    ----------
    folder : what `skip_wrappers` returned.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        If it has fewer than two classes, a class without any image, no training part, or another folder beside its
        parts.
    """
    subfolders = _subfolders(folder)
    has_parts = _has_parts(subfolders, dataset)
    class_folders = [(sub, "") for sub in subfolders]
    if has_parts:
        class_folders = [(sub, PART_OF_FOLDER[part.name.lower()]) for part in subfolders for sub in _subfolders(part)]
    labels = {sub.name for sub, _ in class_folders}
    if len(labels) < 2:
        hint = "; it holds images itself: give the folder above" if not labels and _image_paths(folder) else ""
        raise GraftError(
            f"{dataset}: {len(labels)} class folder{'s' * (len(labels) != 1)} found; "
            f"it must hold two or more, or train/ and test/ folders that do{hint}"
        )
    if has_parts and not any(split == "train" for _, split in class_folders):
        raise GraftError(f"{dataset}: it has {', '.join(sub.name for sub in subfolders)}, but no train/ folder")
    files = [
        ImageFile(path.relative_to(folder), sub.name, split)
        for sub, split in class_folders
        for path in _image_paths(sub)
    ]
    require_images(labels, {file.label for file in files}, dataset)
    return sorted(files, key=lambda file: file.path.as_posix())


def count_other_files(folder: Path) -> dict[str, int]:
    """Return how many files below the subfolders of a folder have no image's name, by suffix in small letters."""
    return loader.other_files(path for subfolder in _subfolders(folder) for path in _file_paths(subfolder))


def require_images(labels: set[str], labels_with_images: set[str], dataset: str) -> None:
    """Check that every class has a readable image.

    Raises
    ------
    GraftError
        If one has none.
    """
    if empty := sorted(labels - labels_with_images):
        raise GraftError(
            f"{dataset}: no readable image in class folder {', '.join(map(repr, empty))}; fill or remove it "
            f"(known are {', '.join(loader.SUFFIXES)})"
        )


def _has_parts(subfolders: list[Path], dataset: str) -> bool:
    """Say whether the folders are parts. A class may have a part's name too, but then it holds no folders."""
    parts = [sub for sub in subfolders if sub.name.lower() in PART_OF_FOLDER]
    others = [sub.name for sub in subfolders if sub.name.lower() not in PART_OF_FOLDER]
    if parts and others and any(_subfolders(part) for part in parts):
        raise GraftError(
            f"{dataset}: beside {parts[0].name}/ there is {others[0]}/, which is no part; remove one of them"
        )
    return bool(parts) and not others


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_ignored(path.name))


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _image_paths(folder: Path) -> list[Path]:
    return [path for path in _file_paths(folder) if loader.is_image_name(path)]


def _file_paths(folder: Path) -> list[Path]:
    paths = []
    for parent, subfolders, names in os.walk(folder):
        # os.walk goes into the folders that this list keeps.
        subfolders[:] = [name for name in subfolders if not _is_ignored(name)]
        paths += [Path(parent, name) for name in names if not _is_ignored(name)]
    return paths
