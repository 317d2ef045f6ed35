"""Folders of images: which folders are the classes and parts, and which files are images."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graft.core.errors import GraftError
from graft.data.parts import find_parts, is_exact, read_name
from graft.images import files, loader

# DVC never looks into these.
UNSEEN = frozenset((".git", ".hg", ".dvc"))
# The key in data/raw.json's other_files.
NO_CLASS = "image outside the class folders"


@dataclass(frozen=True)
class ImageFile:
    """A file with an image's name in a class folder.

    Attributes
    ----------
    path : relative to the data set's folder.
    label : its class, the name of the class folder in Unicode's composed form (NFC): é is one character, whichever
        system wrote the name.
    split : train, validation or test; empty where the data set has no parts.
    """

    path: Path
    label: str
    split: str


def check_links(folder: Path, dataset: str) -> None:
    """Check that DVC can read all that is below a folder, and sees every change.

    DVC hashes the file that a link leads to. It does not look into a folder behind a link, fails at a link that leads
    nowhere, and waits for ever at a pipe, in hidden folders too.

    Parameters
    ----------
    folder : of images; it may be a link itself.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        If there is such a link or pipe, a device, or a folder that cannot be read.
    """
    for path, kind in sorted((Path(path), kind) for path, kind in files.each(folder, ignored_too=True) if kind):
        place = path.relative_to(folder)
        if kind == files.LINK_TO_FOLDER and not any(map(files.is_ignored, place.parts)):
            raise GraftError(
                f"{dataset}: {place} is {kind}, where DVC sees no change; put the folder itself in its place"
            )
        if kind != files.LINK_TO_FOLDER and UNSEEN.isdisjoint(place.parts):
            remedy = (
                "remove it" if kind in (files.DANGLING_LINK, files.SPECIAL_FILE) else "make it readable, or remove it"
            )
            raise GraftError(f"{dataset}: {place} is {kind}; {remedy}")


def has_heic(folder: Path) -> bool:
    """Return whether there is a HEIC image below a folder, by its name; what an archive holds is not known."""
    return any(path.suffix.lower() in loader.HEIC_SUFFIXES for path in _files(folder))


def skip_wrappers(folder: Path) -> Path:
    """Return the folder with the classes or parts: `folder`, or the first one below that is more than a wrapper.

    A wrapper holds one folder, which has folders itself, and no image.
    """
    while True:
        subfolders = _subfolders(folder)
        if len(subfolders) != 1 or _images_directly_in(folder) or not _subfolders(subfolders[0]):
            return folder
        folder = subfolders[0]


def find_images(folder: Path, dataset: str) -> Iterator[ImageFile]:
    """Yield the image files of a folder of class folders, or of train/, val/, test/ folders of them, sorted by path.

    Parameters
    ----------
    folder : what `skip_wrappers` returned.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        At once, if it has fewer than two classes, a class without any image or without one in its training part, no
        training part, another folder beside its parts, or folders that may be classes or parts.
    """
    class_folders = _class_folders(folder, dataset)
    _require_same_case(class_folders, dataset)
    firsts, inner = [], {}
    for sub, part in class_folders.items():
        names = _image_names(sub)
        firsts += [ImageFile(sub.relative_to(folder) / name, _label(sub), part) for name in names[:1]]
        inner[sub] = {name.partition("/")[0] if "/" in name else "" for name in names}
    _require_classes_alone(inner, dataset)
    require_training_images(firsts, dataset)
    require_images({_label(sub) for sub in class_folders}, {image.label for image in firsts}, dataset)
    # No path of a class folder, with its "/", begins that of another one: so all images are sorted by path.
    ordered = sorted(class_folders, key=lambda sub: f"{sub.as_posix()}/")
    return (
        ImageFile(sub.relative_to(folder) / name, _label(sub), class_folders[sub])
        for sub in ordered
        for name in _image_names(sub)
    )


def count_other_files(folder: Path) -> dict[str, int]:
    """Return how many files below the subfolders of a folder have no image's name, by suffix in small letters."""
    return loader.other_files(path for subfolder in _subfolders(folder) for path in _files(subfolder))


def count_without_class(folder: Path, count: int) -> dict[str, int]:
    """Return how many images of a folder are not among the `count` that `find_images` has found, {} for none."""
    number = sum(map(loader.is_image_name, _files(folder))) - count
    return {NO_CLASS: number} if number else {}


def case_pairs(labels: Iterable[str], seen: Callable[[str], str] = str.casefold) -> list[list[str]]:
    """Return the classes whose names differ in case alone, or in what `seen` drops, those of one kind in a list."""
    alike = defaultdict(list)
    for label in sorted(set(labels)):
        alike[seen(label)].append(label)
    return [names for names in alike.values() if len(names) > 1]


def require_images(
    labels: set[str], labels_with_images: set[str], dataset: str, refused: Mapping[str, str] | None = None
) -> None:
    """Check that every class has a readable image.

    Parameters
    ----------
    labels, labels_with_images : all classes, and those that have one.
    dataset : what an error calls it.
    refused : why an image of a class is refused, where one is.

    Raises
    ------
    GraftError
        If one has none.
    """
    if empty := sorted(labels - labels_with_images):
        reason = (refused or {}).get(empty[0])
        why = f"; the first image of {empty[0]!r} is refused: {reason}" if reason else ""
        raise GraftError(
            f"{dataset}: no readable image in class folder {', '.join(map(repr, empty))}; fill or remove it "
            f"(known are {', '.join(loader.SUFFIXES)}){why}"
        )


def _class_folders(folder: Path, dataset: str) -> dict[Path, str]:
    """Return the class folders, at least two, and the part of each; no part where the data set has none."""
    subfolders = _subfolders(folder)
    parts = _parts(subfolders, dataset)
    class_folders = {sub: parts[part] for part in parts for sub in _subfolders(part)}
    if not parts:
        class_folders = dict.fromkeys(subfolders, "")
    elif "train" not in parts.values():
        names = ", ".join(sub.name for sub in subfolders)
        raise GraftError(f"{dataset}: it has {names}, but no train/ folder; rename them if they are classes")
    elif "train" not in class_folders.values() and any(map(_image_names, parts)):
        names = ", ".join(f"{sub.name}/" for sub in subfolders)
        train = next(part for part in parts if parts[part] == "train").relative_to(folder)
        raise GraftError(
            f"{dataset}: {names} are parts by their names, but {train}/ holds no class folders; put the images of each "
            f"class in a folder of its own, {train}/NAME/, or rename the folders if they are the classes"
        )
    labels = {_label(sub) for sub in class_folders}
    if len(labels) < 2:
        hint = "; it holds images itself: give the folder above" if not labels and _image_names(folder) else ""
        raise GraftError(
            f"{dataset}: {len(labels)} class folder{'s' * (len(labels) != 1)} found; "
            f"it must hold two or more, or train/ and test/ folders that do{hint}"
        )
    return class_folders


def _parts(subfolders: list[Path], dataset: str) -> dict[Path, str]:
    """Return the folders of the parts, without wrappers, and the part of each; {} if the folders are classes.

    A class may have a part's name too, but then it is the only one, and holds no folders.
    """
    part_of = find_parts([sub.name for sub in subfolders])
    parts = [sub for sub in subfolders if sub.name in part_of]
    others = [sub.name for sub in subfolders if sub.name not in part_of]
    several = len(set(part_of.values())) > 1
    if parts and others and (several or any(map(_holds_classes, parts))):
        raise GraftError(
            f"{dataset}: beside {parts[0].name}/ there is {others[0]}/, which is no part; remove one of them, "
            f"or rename {parts[0].name}/ if it is a class"
        )
    if others or not (several or all(is_exact(sub.name) for sub in parts)):
        return {}
    classes = Counter(sub.name for part in parts for sub in _subfolders(part))
    return {_without_wrapper(part, part_of[part.name], classes): part_of[part.name] for part in parts}


def _holds_classes(folder: Path) -> bool:
    """Say whether a folder with a part's name seems to hold class folders."""
    # A class may be called test1 and sort its images into folders; such a name counts if there is no image beside them.
    return bool(_subfolders(folder)) and (is_exact(folder.name) or not _images_directly_in(folder))


def _without_wrapper(folder: Path, part: str, classes: Counter[str]) -> Path:
    """Return the folder of a part, or what it wraps: one folder that names the same part, as in test_set/test_set."""
    inner = _subfolders(folder)
    # What several parts hold is a class, as `train` among vehicles.
    if len(inner) == 1 and classes[inner[0].name] == 1 and not _images_directly_in(folder):
        read = read_name(inner[0].name)
        return inner[0] if read and read[0] == part else folder
    return folder


def _require_classes_alone(folders: Mapping[Path, set[str]], dataset: str) -> None:
    """Check that no two classes hold folders of the same names instead of images: one of both may be parts.

    Parameters
    ----------
    folders : the names of the folders in each class folder; "" where it has images itself.
    dataset : what an error calls it.
    """
    inner: defaultdict[str, set[str]] = defaultdict(set)
    for sub, inside in folders.items():
        inner[_label(sub)] |= inside
    folders_only = {label: names for label, names in inner.items() if "" not in names}
    counts = Counter(name for names in folders_only.values() for name in names)
    shared = {name for name, count in counts.items() if count > 1}
    # One name alone is usual: images/ in each class.
    alike = sorted(label for label, names in folders_only.items() if len(names & shared) > 1)
    if len(alike) > 1:
        names = ", ".join(f"{name}/" for name in sorted(inner[alike[0]] & shared)[:4])
        raise GraftError(
            f"{dataset}: {alike[0]}/ and {alike[1]}/ hold no images but folders of the same names, {names}: put the "
            "images of each class directly into its folder, and the classes into train/, validation/ and test/ if they "
            "have parts"
        )


def _require_same_case(class_folders: Iterable[Path], dataset: str) -> None:
    """Check that classes that differ in case alone, as A and a, stand in one folder, where it is no slip."""
    parents = defaultdict(set)
    for sub in class_folders:
        parents[_label(sub)].add(sub.parent)
    for first, second, *_ in case_pairs(parents):
        if parents[first].isdisjoint(parents[second]):
            raise GraftError(
                f"{dataset}: class {first!r} in {min(parents[first]).name}/ and class {second!r} in "
                f"{min(parents[second]).name}/ differ in case alone; give both the same name"
            )


def require_training_images(images: Iterable[ImageFile], dataset: str) -> None:
    """Check that each class with images in a validation or test part has some in the training part.

    Parameters
    ----------
    images : of the whole data set, which are gone through twice; one of each class and part is enough.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        If a class has none.
    """
    trained = {image.label for image in images if image.split in ("", "train")}
    for image in images:
        if image.label not in trained:
            raise GraftError(
                f"{dataset}: class {image.label!r} has images in {image.path.parts[0]}/, but none in the training "
                "part; add some, or check whether it is a class"
            )


def _label(class_folder: Path) -> str:
    return unicodedata.normalize("NFC", class_folder.name)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not files.is_ignored(path.name))


def _images_directly_in(folder: Path) -> bool:
    return any(loader.is_image_name(path) and path.is_file() for path in folder.iterdir())


def _files(folder: Path) -> Iterator[Path]:
    return (Path(path) for path, kind in files.each(folder) if not kind)


def _image_names(folder: Path) -> list[str]:
    """Return the paths of the images in a folder, relative to it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in _files(folder) if loader.is_image_name(path))
