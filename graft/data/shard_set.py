"""A data set of tar shards: which they are, their parts, and those of an address fetched; none is unpacked."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from graft.core.byte_sizes import readable
from graft.core.errors import GraftError
from graft.core.files import sha256_of, write_text
from graft.core.object_file import ObjectFile
from graft.core.paths import cache_folder, repository
from graft.core.progress import Progress
from graft.data import folders
from graft.data.archives import Bounds
from graft.data.checked_images import CheckedImage
from graft.data.fetch import fetch
from graft.data.folders import ImageFile
from graft.data.parts import find_parts, read_name
from graft.data.shard_samples import Samples, label_by_folder, read_class_names, read_shard
from graft.data.transfer import Limits
from graft.images import loader
from graft.images.files import is_ignored
from graft.images.shards import INDEX_SUFFIX, read_index, write_index
from graft.settings.datasets import Entry
from graft.settings.shards import CLASS_FILES, SUFFIX, expand, is_local_pattern, name_of

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def local_shards(source: Path, dataset: str) -> list[Path] | None:
    """Return the shards of a local data set and the list of its classes; None where it is a folder of images.

    A folder without braces is one of shards where it holds .tar files and no folders.

    Parameters
    ----------
    source : the folder, or a link to it.
    dataset : of params.yaml.

    Raises
    ------
    GraftError
        If a compressed shard lies beside the others.
    """
    inside = sorted(path for path in source.iterdir() if not is_ignored(path.name))
    lists = [path for path in inside if path.name in CLASS_FILES]
    if is_local_pattern(dataset, repository()):
        shards = [source / name for name in map(name_of, expand(dataset)) if name.endswith(SUFFIX)]
        return sorted(shards) + lists
    shards = [path for path in inside if path.name.endswith(SUFFIX) and path.is_file()]
    if not shards or any(path.is_dir() for path in inside):
        return None
    if compressed := [path.name for path in inside if path.name.endswith(COMPRESSED)]:
        raise GraftError(
            f"{dataset}: {compressed[0]} is compressed, so no image can be read alone; unpack it to {SUFFIX}"
        )
    return shards + lists


def fetched_shards(entry: Entry, folder: Path, bounds: Bounds, limits: Limits) -> list[Path]:
    """Fetch the shards of an address into `folder`, and return them and the list of the classes.

    Each is a link to what `fetch` keeps, or a copy where there are no links.

    Parameters
    ----------
    entry : its `url` is a pattern; its `sha256` is that of the list of all files, as sha256sum prints it.
    folder : stands for data/raw.
    bounds : `size` is that of all files together.
    limits : of each file.

    Raises
    ------
    GraftError
        If a file cannot be fetched, or they are others than those of `sha256`, or too large.
    """
    addresses = sorted(expand(entry.url or ""), key=name_of)
    cache, lines, total = cache_folder() / "downloads", [], 0
    found = []
    for address in Progress(addresses, "shards"):
        file = fetch(address, None, cache, limits)
        total += file.stat().st_size
        if total > bounds.size:
            raise GraftError(
                f"{entry.url}: the shards have more than {readable(bounds.size)}; if that is right, raise "
                "limits.unpacked_size in params.yaml"
            )
        name = name_of(address)
        lines.append(f"{sha256_of(file)}  {name}\n")
        found.append(file if name in CLASS_FILES else _linked(file, folder / name))
    listing = "".join(lines)
    sha256 = hashlib.sha256(listing.encode()).hexdigest()
    if sha256 != entry.sha256:
        listed = cache / f"{sha256[:16]}-SHA256SUMS"
        write_text(listed, listing)
        raise GraftError(
            f"{entry.url}: the SHA-256 of the list of its shards is {sha256}, but dataset_sha256 is {entry.sha256}; "
            f"compare {listed}, and delete a wrong shard in {cache}"
        )
    return found


def read_shards(
    shards: Sequence[Path], folder: Path, dataset: str, bounds: Bounds, temporary: Path
) -> tuple[ObjectFile[ImageFile], Samples]:
    """Return the images of shards with their labels, sorted by path, and what else the shards hold.

    The index of each shard is written into `folder`.

    Parameters
    ----------
    shards : what `local_shards` or `fetched_shards` returned.
    folder : stands for data/raw.
    dataset : what an error calls the data set.
    bounds : `files` is how many files the shards may hold.
    temporary : an existing folder for the list of the images.

    Raises
    ------
    GraftError
        If a shard is damaged, they hold too many files or fewer than two classes, or a class has no training image.
    """
    lists = [path for path in shards if not path.name.endswith(SUFFIX)]
    if len(lists) > 1:
        raise GraftError(f"{dataset}: it has {lists[0].name} and {lists[1].name}; keep one of them")
    names = read_class_names(lists[0]) if lists else None
    # In this order the paths of all images are sorted.
    tars = sorted((path for path in shards if path.name.endswith(SUFFIX)), key=lambda path: f"{path.name}/")
    parts = _parts([path.name for path in tars], dataset)
    samples = Samples()

    def each() -> Iterator[ImageFile]:
        for path in Progress(tars, "shards"):
            yield from read_shard(samples, path, parts[path.name], names, folder)
            if samples.members > bounds.files:
                raise GraftError(
                    f"{dataset}: its shards hold more than {bounds.files:,} files; if that is right, raise "
                    "limits.files in params.yaml"
                )

    found = ObjectFile(temporary / "found", each())
    files = ObjectFile(temporary / "files", label_by_folder(samples, found, dataset))
    labels = {file.label for file in files}
    _require_classes(files, labels, samples, dataset)
    if names and (unused := len(set(names) - labels)):
        print(f"{lists[0].name}: {unused} of its {len(names)} classes have no image")
    return files, samples


def keep(folder: Path, images: Iterable[CheckedImage]) -> None:
    """Write the images that are kept, with their SHA-256, into the indexes of their shards.

    Parameters
    ----------
    folder : stands for data/raw; it has the indexes.
    images : those that are kept, sorted by shard.
    """
    waiting = {path.name.removesuffix(INDEX_SUFFIX) for path in folder.glob(f"*{SUFFIX}{INDEX_SUFFIX}")}
    for shard, kept in groupby(images, lambda image: image.file.path.parts[0]):
        entries = read_index(folder, shard)
        names = ((image.file.path.relative_to(shard).as_posix(), image.sha256) for image in kept)
        write_index(folder, shard, (entries[name]._replace(sha256=sha256) for name, sha256 in names))
        waiting.remove(shard)
    for shard in waiting:
        write_index(folder, shard, ())


def _linked(file: Path, target: Path) -> Path:
    try:
        os.link(file, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(file, target)
    return target


def _parts(names: Sequence[str], dataset: str) -> dict[str, str]:
    """Return the part of each shard by its name, empty where the data set has none; numbers do not count."""
    stems = {name: re.sub(r"\d+", "", name.removesuffix(SUFFIX)) for name in names}
    part_of = find_parts(sorted(set(stems.values())))
    others = [name for name in names if stems[name] not in part_of]
    named = {read[0] for stem in stems.values() if (read := read_name(stem))}
    if others and (part_of or len(named) > 1):
        first = next(name for name in names if stems[name] in part_of or read_name(stems[name]))
        other = next(name for name in others if name != first)
        raise GraftError(
            f"{dataset}: {first} is of a part by its name, but {other} does not go with it; name all shards alike, as "
            "train-000000.tar, val-000000.tar and test-000000.tar"
        )
    if part_of and "train" not in part_of.values():
        raise GraftError(f"{dataset}: by their names its shards are {', '.join(sorted(named))}; the training part is "
                         "missing, add it or rename them")  # fmt: skip
    return {name: part_of.get(stem, "") for name, stem in stems.items()}


def _require_classes(files: ObjectFile[ImageFile], labels: set[str], samples: Samples, dataset: str) -> None:
    if len(labels) < 2:
        first = samples.refused[0] if samples.refused else None
        why = f"; {first.file.path}: {first.refused}" if first else ""
        count = f"{len(files)} images of {len(labels)} class{'es' * (len(labels) != 1)}"
        raise GraftError(
            f"{dataset}: its shards hold {count}; two or more are needed, as KEY.jpg with KEY.cls, or CLASS/NAME.jpg "
            f"(known are {', '.join(loader.SUFFIXES)}){why}"
        )
    folders.require_training_images(files, dataset)
