"""The images of data/source for the stage download: in a folder of class folders, or in tar shards."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from graft.core.errors import GraftError
from graft.core.object_file import ObjectFile
from graft.data import folders, shard_set
from graft.data.archives import Bounds
from graft.data.checked_images import CheckedImage
from graft.data.folders import ImageFile
from graft.data.source import image_folder, read_entry
from graft.data.transfer import Limits
from graft.images.loader import left_out
from graft.settings.resolved import is_local
from graft.settings.shards import is_pattern


class Gathered(NamedTuple):
    """The images of a data set, not read yet.

    Attributes
    ----------
    folder : below it, `loader.content` finds each image by its path.
    files : the images.
    refused : images that cannot be used, whatever their content.
    others : how many other files were left out, by suffix or kind.
    shards : the size and time of each shard before it was read; empty where the images are files.
    """

    folder: Path
    files: ObjectFile[ImageFile]
    refused: list[CheckedImage]
    others: dict[str, int]
    shards: dict[Path, tuple[int, int]]


def gather(
    source: Path, dataset: str, sha256: str | None, temporary: Path, raw: Path, bounds: Bounds, limits: Limits
) -> Gathered:
    """Find the images of data/source, and print what is left out and what is odd.

    Parameters
    ----------
    source : data/source.
    dataset, sha256 : of params.yaml.
    temporary : a folder for the content of an archive and the list of the images.
    raw : an empty folder that becomes data/raw; it gets the shards of an address, and the indexes of all shards.
    bounds, limits : of an archive or of shards, and of each download.

    Raises
    ------
    GraftError
        If the data set cannot be had, or is no data set.
    """
    shards = _shards(source, dataset, raw, bounds, limits)
    if shards is None:
        return _in_folders(source, dataset, sha256, temporary, bounds, limits)
    if source.is_dir():
        folders.check_links(source, dataset)
    states = {path: _state(path) for path in shards}
    files, samples = shard_set.read_shards(shards, raw, dataset, bounds, temporary)
    others = dict(sorted((+samples.left_out).items()))
    if others:
        print(left_out(others))
    _print_pairs(files)
    return Gathered(raw, files, samples.refused, others, states)


def keep(gathered: Gathered, images: Iterable[CheckedImage], source: Path, raw: Path) -> None:
    """Bring the images that are kept to the folder `raw`: files are moved, those of a local data set are copied.

    Images in shards stay there; the indexes of the shards get their SHA-256.

    Raises
    ------
    GraftError
        If a shard has changed since `gather`.
    """
    if gathered.shards:
        if changed := [path for path, state in gathered.shards.items() if _state(path) != state]:
            raise GraftError(f"{changed[0].name}: changed while it was read; run again when nothing writes to it")
        shard_set.keep(raw, images)
        return
    copy_or_move = shutil.copyfile if source.is_dir() else os.replace
    for image in images:
        path = raw / image.file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        copy_or_move(gathered.folder / image.file.path, path)


def _shards(source: Path, dataset: str, raw: Path, bounds: Bounds, limits: Limits) -> list[Path] | None:
    """Return the shards of data/source, and fetch those of an address; None where it is something else."""
    if source.is_dir():
        return shard_set.local_shards(source, dataset)
    if is_local(source):
        return None
    entry = read_entry(source)
    return shard_set.fetched_shards(entry, raw, bounds, limits) if is_pattern(entry.url or "") else None


def _in_folders(
    source: Path, dataset: str, sha256: str | None, temporary: Path, bounds: Bounds, limits: Limits
) -> Gathered:
    folder, links = image_folder(source, sha256, temporary / "unpacked", bounds, limits)
    folders.check_links(folder, dataset)
    folder = folders.skip_wrappers(folder)
    others = dict(sorted((folders.count_other_files(folder) | links).items()))
    if others:
        print(left_out(others))
    files = ObjectFile(temporary / "files", folders.find_images(folder, dataset))
    without_class = folders.count_without_class(folder, len(files))
    for kind, number in without_class.items():
        print(f"left out: {number} {kind}")
    _print_pairs(files)
    return Gathered(folder, files, [], others | without_class, {})


def _visible(label: str) -> str:
    return "".join(character for character in label if character.isprintable() and not character.isspace())


def _print_pairs(files: Iterable[ImageFile]) -> None:
    labels = {file.label for file in files}
    pairs = [(pair, "case") for pair in folders.case_pairs(labels)]
    pairs += [(pair, "spaces or invisible characters") for pair in folders.case_pairs(labels, _visible)]
    for pair, what in pairs:
        print(f"{' and '.join(map(repr, pair))} differ in {what} alone; they are taken for {len(pair)} classes")


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
