"""What a tar shard holds: its files by their headers, without unpacking any."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from graft.core.errors import GraftError, one_line
from graft.core.files import CHUNK_BYTES
from graft.data.archives import (
    DAMAGED,
    HARD_LINK,
    SAME_NAME,
    SPECIAL_FILE,
    SYMBOLIC_LINK,
    Header,
    is_outside,
    relative_name,
)
from graft.images.files import is_ignored
from graft.images.shards import Entry, read_at

SPARSE_FILE = "sparse file"


def files_in(shard: Path, left_out: Counter[str]) -> dict[str, Entry]:
    """Return the files of a shard by name, in the order of the shard; of two with the same name, the later one.

    Hidden files, and what macOS adds, are skipped, as in folders.

    Parameters
    ----------
    shard : a .tar file that is not compressed.
    left_out : gets the number of links, special and sparse files, and files replaced by a later one.

    Raises
    ------
    GraftError
        If the shard is damaged, cut off or compressed, holds more behind its end, or names a place outside of a folder.
    """
    found: dict[str, Entry] = {}
    try:
        with tarfile.open(shard, "r:", tarinfo=Header) as tar:
            for member in _members(tar):
                name = relative_name(member.name)
                if member.isdir():
                    continue
                if is_outside(name):
                    raise GraftError(
                        f"{shard.name}: refused, it holds {one_line(member.name)!r}, a path outside its folder"
                    )
                if any(map(is_ignored, name.parts)):
                    continue
                if kind := _kind(member):
                    left_out[kind] += 1
                    continue
                left_out[SAME_NAME] += found.pop(name.as_posix(), None) is not None
                found[name.as_posix()] = Entry(name.as_posix(), member.offset_data, member.size)
            _require_end(shard, tar.offset)
    except DAMAGED as error:
        raise GraftError(
            f"{shard.name}: damaged, cut off, or compressed ({one_line(error)}); a shard is a whole .tar file, get it "
            "again"
        ) from error
    return found


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    place = -1
    for member in tar:
        # A negative size leads back, and Python 3.11 would go round for ever.
        if member.size < 0 or tar.offset <= place:
            raise tarfile.ReadError(f"the size of {member.name!r} is negative")
        place = tar.offset
        yield member
        # As for archives, the headers are not needed again.
        tar.members.clear()  # type: ignore[attr-defined]


def _kind(member: tarfile.TarInfo) -> str:
    """Return why a member has no bytes of its own in one place; empty for a file."""
    if member.issparse():
        return SPARSE_FILE
    if member.isreg():
        return ""
    if member.islnk() or member.issym():
        return HARD_LINK if member.islnk() else SYMBOLIC_LINK
    return SPECIAL_FILE


def _require_end(shard: Path, place: int) -> None:
    """Check that zeros end a shard at this place, and that nothing follows: tarfile reads no further, and is silent."""
    if read_at(shard, place, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it ends at byte {place:,} without the zeros that end a .tar")
    while rest := read_at(shard, place, CHUNK_BYTES):
        if any(rest):
            raise tarfile.ReadError(f"more follows behind its end at byte {place:,}; join tar files by tar -A, not cat")
        place += len(rest)
