"""The one walk through a folder of images, for data sets and `graft predict`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from graft.core.errors import one_line

# macOS and Windows add these to folders and archives; DVC does not take in the second one (.dvcignore).
IGNORED = ("__MACOSX", "Thumbs.db")
LINK_TO_FOLDER = "a link to a folder"
DANGLING_LINK = "a link that leads nowhere"
SPECIAL_FILE = "neither a file nor a folder"
# How many paths a message names.
NAMED = 10


class Found(NamedTuple):
    """What is below a folder.

    Attributes
    ----------
    files : regular files and links to them, sorted.
    others : all else that is no folder, sorted: what it is, by its path. A pipe or a device may have no end.
    """

    files: list[Path]
    others: dict[Path, str]


def is_ignored(name: str) -> bool:
    """Return whether a file or folder of that name is hidden, or one that a system adds to the user's own."""
    return name.startswith(".") or name in IGNORED


def walk(folder: Path, ignored_too: bool = False) -> Found:
    """Return what is below a folder, at any depth. Links to folders are not followed.

    Parameters
    ----------
    folder : may be a link itself.
    ignored_too : whether to look at what `is_ignored` names as well.
    """
    files, others = [], {}
    for path, kind in each(folder, ignored_too):
        if kind:
            others[Path(path)] = kind
        else:
            files.append(Path(path))
    return Found(sorted(files), dict(sorted(others.items())))


def each(folder: Path, ignored_too: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what `walk` returns, one at a time and in no order: a path, and what it is; "" for a file."""
    waiting = [str(folder)]
    while waiting:
        parent = waiting.pop()
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if is_ignored(entry.name) and not ignored_too:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):
                        yield entry.path, ""
                    else:
                        yield entry.path, _kind(entry.path)
        except OSError as error:
            yield parent, f"a folder that cannot be read ({error.strerror})"


def _kind(path: str) -> str:
    if os.path.isdir(path):
        return LINK_TO_FOLDER
    # A link to itself exists no more than one to nothing.
    return SPECIAL_FILE if os.path.exists(path) else DANGLING_LINK


def not_read(others: Mapping[Path, str], folder: Path) -> str:
    """Return the message about the `others` that `walk` found below a folder."""
    listed = [f"{one_line(path.relative_to(folder))} ({kind})" for path, kind in list(others.items())[:NAMED]]
    if len(others) > NAMED:
        listed.append(f"{len(others) - NAMED} more")
    return f"left out: {', '.join(listed)}"
