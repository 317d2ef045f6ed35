"""The samples of tar shards: which files are images, and what their labels are.

In the webdataset layout, files with the same key are a sample: KEY.jpg, KEY.cls, KEY.json. A shard that has no label of
this kind may have its images in class folders: CLASS/NAME.jpg.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from graft.core.byte_sizes import readable
from graft.core.errors import GraftError
from graft.core.object_file import ObjectFile
from graft.data.checked_images import CheckedImage
from graft.data.folders import ImageFile
from graft.data.parts import find_parts
from graft.data.shard_members import files_in
from graft.images.loader import SUFFIXES, is_image_name
from graft.images.shards import Entry, read_at, write_index

# By what follows the key in the name of the file; the first one that a sample has counts.
LABEL_KINDS = ("cls", "json")
NO_LABEL = "no label: its sample has no .cls and no label in a .json, and it is in no class folder"
NO_IMAGE, SECOND_IMAGE = "its sample has no image", "a second image of its sample"
# What data/raw.json counts beside files.
EMPTY = "shard without a usable image"
LONGEST_NAME = 200
# Nobody's label needs more, and an image of 64 megapixels is smaller in every format.
LARGEST_LABEL_FILE, LARGEST_IMAGE = 1_000_000, 1_000_000_000


class _FaultyLabelError(Exception):
    """The reason why a text is no label."""


class _Label(NamedTuple):
    """The class of a sample, or why it has none."""

    name: str = ""
    fault: str = ""


@dataclass
class Samples:
    """What shards hold beside the images that are used.

    Attributes
    ----------
    refused : the images without a usable label, and the samples without an image, each with the reason.
    left_out : how many other files the shards hold, by suffix or kind.
    members : how many files they hold in all.
    """

    refused: list[CheckedImage] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    members: int = 0


def read_class_names(path: Path) -> list[str]:
    """Return the names of the classes by their index.

    Raises
    ------
    GraftError
        If the file is not UTF-8, or a name is empty, too long, or there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise GraftError(f"{path.name}: not in UTF-8 ({error.reason}); save it so, a class on each line") from error
    names: dict[str, int] = {}
    for line, text in enumerate(lines, 1):
        try:
            name = _class_name(text)
        except _FaultyLabelError as fault:
            raise GraftError(f"{path.name}: line {line}: {fault}; write a class on each line") from fault
        if names.setdefault(name, line) != line:
            raise GraftError(
                f"{path.name}: lines {names[name]} and {line} are both {name!r}; give each class a name of its own"
            )
    return list(names)


def read_shard(samples: Samples, shard: Path, part: str, names: Sequence[str] | None, folder: Path) -> list[ImageFile]:
    """Return the images of a shard, sorted by path, and write its index into `folder`. Some have no label yet.

    Parameters
    ----------
    samples : gets what else the shard holds.
    part : train, validation, test, or empty.
    names : of the classes, by index; None where the index itself, as text, is the name.

    Raises
    ------
    GraftError
        If the shard is damaged, or no shard.
    """
    files = files_in(shard, samples.left_out)
    samples.members += len(files)
    by_key: dict[str, dict[str, Entry]] = {}
    for name, entry in files.items():
        key, kind = key_and_kind(name)
        by_key.setdefault(key, {})[kind] = entry
    labels = {key: _label(shard, of_key, names) for key, of_key in by_key.items()}
    # Without any label, webdataset's rules for names do not hold: a class folder may have photo.2024.jpg.
    found = _of_samples(by_key, labels) if any(labels.values()) else _in_folders(files)
    images, kept = [], []
    for entry, label, fault in found:
        del files[entry.name]
        too_large = f"it has {readable(entry.size)}, more than any image that is decoded"
        reason = too_large if entry.size > LARGEST_IMAGE else fault
        file = ImageFile(Path(shard.name, entry.name), label, part)
        if reason:
            samples.refused.append(CheckedImage(file, refused=reason))
            continue
        images.append(file)
        if _is_utf8(entry.name):
            kept.append(entry)
    write_index(folder, shard.name, kept)
    samples.left_out[EMPTY] += not kept
    is_label = {entry.name for of_key in by_key.values() for kind, entry in of_key.items() if kind in LABEL_KINDS}
    others = files.keys() - is_label if any(labels.values()) else files.keys()
    samples.left_out.update(PurePosixPath(name).suffix.lower() for name in others)
    return sorted(images, key=lambda file: file.path.as_posix())


def label_by_folder(samples: Samples, files: ObjectFile[ImageFile], dataset: str) -> Iterator[ImageFile]:
    """Yield the images of all shards; one without a label gets the name of its class folder.

    Folders that hold nothing but one folder with the classes are skipped, as for data sets in folders.

    Parameters
    ----------
    samples : gets the images that are in no class folder.
    files : the images.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        If the folders are train/ and test/: these are parts, not classes.
    """

    def waiting() -> Iterator[tuple[str, ...]]:
        return (file.path.parts[1:] for file in files if not file.label)

    depth = 0
    while _is_wrapper(waiting(), depth):
        depth += 1
    inner = {parts[depth] for parts in waiting() if len(parts) > depth + 2}
    if len(set(find_parts(sorted(inner)).values())) > 1:
        raise GraftError(
            f"{dataset}: its shards hold folders {', '.join(sorted(inner)[:4])}, which are parts by their names; pack "
            "each part into shards of its own, as train-000000.tar and test-000000.tar"
        )
    for file in files:
        parts = file.path.parts[1:]
        if file.label:
            yield file
        elif len(parts) > depth + 1:
            yield replace(file, label=unicodedata.normalize("NFC", parts[depth]))
        else:
            samples.refused.append(CheckedImage(file, refused=NO_LABEL))


def key_and_kind(name: str) -> tuple[str, str]:
    """Return the key of a file's sample and what follows, in small letters, as webdataset divides a name.

    The key ends before the first dot of the file's own name: a/1.seg.PNG is ("a/1", "seg.png").
    """
    path = PurePosixPath(name)
    base, _, kind = path.name.partition(".")
    return (path.parent / base).as_posix(), kind.lower()


def _of_samples(
    by_key: Mapping[str, Mapping[str, Entry]], labels: Mapping[str, _Label | None]
) -> Iterator[tuple[Entry, str, str]]:
    """Yield the image of each sample, with its label or the reason why it is refused."""
    for key, of_key in by_key.items():
        label = labels[key]
        images = [entry for kind, entry in of_key.items() if f".{kind}" in SUFFIXES]
        for place, entry in enumerate(images):
            reason = SECOND_IMAGE if place else label.fault if label else NO_LABEL
            yield entry, label.name if label else "", reason
        if label and not images:
            yield next(of_key[kind] for kind in LABEL_KINDS if kind in of_key), label.name, NO_IMAGE


def _in_folders(files: Mapping[str, Entry]) -> Iterator[tuple[Entry, str, str]]:
    for name, entry in list(files.items()):
        if is_image_name(Path(name)):
            yield entry, "", ""


def _is_wrapper(paths: Iterable[tuple[str, ...]], depth: int) -> bool:
    """Return whether the only thing at a depth is one folder that has folders itself."""
    tops: set[str | None] = set()
    deeper = False
    for parts in paths:
        tops.add(parts[depth] if len(parts) > depth + 1 else None)
        deeper = deeper or len(parts) > depth + 2
    return len(tops) == 1 and None not in tops and deeper


def _label(shard: Path, of_key: Mapping[str, Entry], names: Sequence[str] | None) -> _Label | None:
    """Return the label of a sample; None where no file of it has one."""
    kind = next((kind for kind in LABEL_KINDS if kind in of_key), None)
    if kind is None:
        return None
    entry = of_key[kind]
    if entry.size > LARGEST_LABEL_FILE:
        return _Label(fault=f"its .{kind} has {readable(entry.size)}, too much for a label")
    try:
        text = read_at(shard, entry.offset, entry.size).decode("utf-8-sig")
        label = text if kind == "cls" else _in_json(text)
        return None if label is None else _Label(_named(label, names))
    except UnicodeDecodeError:
        return _Label(fault=f"its .{kind} is not in UTF-8")
    except _FaultyLabelError as fault:
        return _Label(fault=str(fault))


def _in_json(text: str) -> str | None:
    """Return the label in a JSON text; None where it is no object with a label."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _FaultyLabelError("its .json is no JSON") from error
    if not isinstance(content, dict) or "label" not in content:
        return None
    label = content["label"]
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise _FaultyLabelError("the label in its .json is no text and no whole number")
    return str(label)


def _named(text: str, names: Sequence[str] | None) -> str:
    """Return the class that a label stands for: a name itself, or an index."""
    name = _class_name(text)
    index = int(name) if name.isascii() and name.removeprefix("-").isdigit() else None
    if index is None:
        if names is not None and name not in names:
            raise _FaultyLabelError(f"its class {name!r} is not in the list of classes")
        return name
    if index < 0:
        raise _FaultyLabelError(f"its class index is {index}")
    if names is None:
        return str(index)
    if index >= len(names):
        raise _FaultyLabelError(f"its class index is {index}, but the list has {len(names)} classes, from index 0")
    return names[index]


def _class_name(text: str) -> str:
    name = unicodedata.normalize("NFC", text.strip())
    if not name or len(name) > LONGEST_NAME:
        raise _FaultyLabelError(f"its class has more than {LONGEST_NAME} characters" if name else "its class is empty")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise _FaultyLabelError("its class has a control character")
    return name


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
