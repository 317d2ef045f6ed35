"""Which image files the arguments of `graft predict` name: files, folders, patterns, and standard input."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from graft.core.errors import GraftError, one_line
from graft.images import loader, shards
from graft.images.files import SPECIAL_FILE, not_read, walk

STANDARD_INPUT = "-"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def files_of(argument: str) -> list[Path]:
    """Return the image files that an argument names, sorted by path.

    A file is taken whatever its name. A folder stands for all image files below it; hidden files and folders are
    skipped, and links to folders are not followed. For a folder, a line on standard error counts the files that are
    not images, and another names what is not read: links, pipes, devices. A pattern with `*`, `?`, `[...]` or `**`
    stands for all that a shell would put in its place.

    Raises
    ------
    GraftError
        If nothing has that name, a folder has no image, or the argument is an address.
    """
    # Not by methods of Path: they raise an error at a name that is too long.
    if os.path.exists(argument):  # noqa: PTH110
        return _files_at(Path(argument))
    if shards.is_inside(Path(argument)):
        return [Path(argument)]
    if ADDRESS.match(argument):
        raise GraftError(f"{argument}: an address, not a file; download the image and give the file")
    if glob.has_magic(argument):
        found = matches(argument)
        if not found:
            raise GraftError(f"{argument}: no file or folder matches this pattern")
        # `**` matches a folder and all that is below it.
        return list(dict.fromkeys(path for match in found for path in _files_at(Path(match))))
    raise GraftError(f"{argument}: no such file or folder")


def matches(argument: str) -> list[str]:
    """Return what a shell would put in the place of an argument, sorted: itself, or what matches its pattern."""
    if os.path.exists(argument) or not glob.has_magic(argument):  # noqa: PTH110 - as in `files_of`
        return [argument]
    try:
        return sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - of a whole path
    except (ValueError, RecursionError):
        # It has a NUL, or thousands of folders: nothing has such a name.
        return []


def _files_at(path: Path) -> list[Path]:
    if path.is_dir():
        return _images_below(path)
    if not path.is_file():
        raise GraftError(f"{path}: {SPECIAL_FILE}; save the image as a file")
    return [path]


def _images_below(folder: Path) -> list[Path]:
    found = walk(folder)
    if others := loader.other_files(found.files):
        print(f"{one_line(folder)}: {loader.left_out(others)}", file=sys.stderr)
    if found.others:
        print(f"{one_line(folder)}: {not_read(found.others, folder)}", file=sys.stderr)
    images = [file for file in found.files if loader.is_image_name(file)]
    if not images:
        raise GraftError(f"{folder}: no image in this folder; images end in {', '.join(loader.SUFFIXES)}")
    return images


def all_files(arguments: Sequence[str]) -> list[Path] | Iterator[Path | GraftError]:
    """Return the image files that all arguments name, in the order of the arguments.

    Without standard input it is a list, so that a mistake is found before any image is classified. With `-`, it is an
    iterator that reads a path from each line when its turn comes. A line that names no image then gives the error in
    its place, and the others are still read.

    Raises
    ------
    GraftError
        As for `files_of`; if `-` stands there twice.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        raise GraftError(f"{STANDARD_INPUT}: standard input can be read once only")
    named = {argument: files_of(argument) for argument in arguments if argument != STANDARD_INPUT}
    if STANDARD_INPUT not in arguments:
        return [path for argument in arguments for path in named[argument]]
    return _with_standard_input(arguments, named)


def _with_standard_input(arguments: Sequence[str], named: dict[str, list[Path]]) -> Iterator[Path | GraftError]:
    for argument in arguments:
        yield from _files_in_lines(sys.stdin.buffer) if argument == STANDARD_INPUT else named[argument]


def _files_in_lines(stream: BinaryIO) -> Iterator[Path | GraftError]:
    """Yield the files that the lines of a stream name, and the error of each line that names none."""
    line = b""
    for line in stream:
        # The name of a file can hold any bytes.
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            try:
                yield from files_of(name)
            except GraftError as error:
                yield error
    if not line:
        raise GraftError("standard input has no line; give it a path a line")
