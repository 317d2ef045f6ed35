"""Images in tar shards: the bytes of one are read from its place in the shard, which is never unpacked.

The path of such an image is that of a file in a folder with the shard's name: data/raw/train-000000.tar/KEY.jpg. Beside
it lies the shard's index, data/raw/train-000000.tar.csv. The shard itself is in data/raw, or in data/source where that
is a link to the user's own folder.
"""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_rows, write_rows

INDEX_SUFFIX = ".csv"
INSIDE = ".tar/"
# An index of 10,000 images takes about 3 MB. Stages read image after image, so that few shards are open at once.
INDEXES = 16


class Entry(NamedTuple):
    """An image in a shard.

    Attributes
    ----------
    name : in the shard, with "/" between folders.
    offset, size : where its bytes begin, and how many they are.
    sha256 : of these bytes, 64 hexadecimal digits; empty before the stage download has read them.
    """

    name: str
    offset: int
    size: int
    sha256: str = ""


def write_index(folder: Path, shard: str, entries: Iterable[Entry]) -> None:
    """Write the index of a shard of that name into `folder`, which stands for data/raw."""
    write_rows(_index_file(folder / shard), Entry._fields, (entry._asdict() for entry in entries))


def read_index(folder: Path, shard: str) -> dict[str, Entry]:
    """Return what `write_index` wrote, by the names of the images.

    Raises
    ------
    GraftError
        If there is no index, or it is broken.
    """
    path = _index_file(folder / shard)
    try:
        return {
            row["name"]: Entry(row["name"], int(row["offset"]), int(row["size"]), row["sha256"])
            for row in read_rows(path)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise GraftError(f"{path}: broken, or not the index that download writes; run `dvc repro`") from error


def is_inside(path: Path) -> bool:
    """Return whether a path is that of an image in a shard."""
    return _shard_of(path) is not None


def size(path: Path) -> int:
    """Return the number of bytes of an image in a shard."""
    return _entry(path)[1].size


def read(path: Path) -> bytes:
    """Return the bytes of an image in a shard.

    Raises
    ------
    GraftError
        If the shard is gone, or the bytes are others than those that the stage download read.
    """
    shard, entry = _entry(path)
    try:
        content = read_at(shard, entry.offset, entry.size)
    except OSError as error:
        raise GraftError(
            f"{shard}: cannot be read ({error.strerror}); put the shard back, or run `dvc repro`"
        ) from error
    # Only here: `graft predict` needs no hash for images in files of their own.
    import hashlib

    if len(content) < entry.size or (entry.sha256 and hashlib.sha256(content).hexdigest() != entry.sha256):
        raise GraftError(
            f"{shard}: {entry.name} is not what it was when download read the shard; put the shard back, or run "
            "`dvc repro`, which reads it again"
        )
    return content


def read_at(shard: Path, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset` on, fewer where it ends before."""
    with shard.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), length, offset)


def _index_file(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}{INDEX_SUFFIX}")


def _shard_of(path: Path) -> Path | None:
    """Return the first folder in a path that is a shard, by its index; None without."""
    text = path.as_posix()
    end = text.find(INSIDE)
    while end >= 0:
        shard = Path(text[: end + len(INSIDE) - 1])
        # Not a method of Path: that raises an error at a name that is too long.
        if os.path.isfile(_index_file(shard)):  # noqa: PTH113
            return shard
        end = text.find(INSIDE, end + 1)
    return None


def _entry(path: Path) -> tuple[Path, Entry]:
    shard = _shard_of(path)
    if shard is None:
        raise GraftError(f"{path}: no index of its shard; run `dvc repro`")
    index = _index_file(shard)
    state = index.stat()
    entry = _index(shard, (state.st_mtime_ns, state.st_ino)).get(path.relative_to(shard).as_posix())
    if entry is None:
        raise GraftError(f"{index}: it has no {path.relative_to(shard)}; run `dvc repro`")
    # The shards of an address are in data/raw too. Only the user's own stay where they are.
    return (shard if shard.is_file() else paths.SOURCE / shard.name), entry


@lru_cache(INDEXES)
def _index(shard: Path, state: tuple[int, int]) -> dict[str, Entry]:  # noqa: ARG001 - only the cache looks at it
    """Return the index of a shard; one of another state, time and number, is read again."""
    return read_index(shard.parent, shard.name)
