"""Atomic writes, JSON, CSV and content hashes of files."""

import csv
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.core.errors import FULL_DISK, GraftError, file_fault

CHUNK_BYTES = 1 << 20
# What the name of each temporary folder starts with.
TEMPORARY = ".part-"


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new empty folder in `parent`, and remove it with all that it holds when the block ends.

    A process that is killed leaves its folder behind; the next call for this `parent` removes it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    folder, lock = _locked_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder and a file descriptor, which locks the folder for as long as this process has it open."""
    while True:
        folder = parent / f"{TEMPORARY}{os.urandom(8).hex()}"
        folder.mkdir()
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            # Another process took it for a leftover before it was locked.
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        if folder.exists():
            return folder, lock
        os.close(lock)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders and files in `folder`, but not those of a process that still runs."""
    for path in folder.glob(f"{TEMPORARY}*"):
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            # Its process has removed it, or it belongs to somebody else.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Earlier versions of Graft made files without a folder.
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        except OSError:
            # A living process has locked it, or the file system has no locks.
            continue
        finally:
            os.close(lock)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path of the same name, and move that file to `path` when the block ends without an error.

    Until then an earlier file stays as it was. The temporary path is in a `temporary_folder` beside `path`. The block
    may put a folder in the place of the temporary file.

    Raises
    ------
    GraftError
        If the file cannot be written: the disk is full, or the folder read-only, say.
    """
    path = Path(path)
    temporary = path
    try:
        with temporary_folder(path.parent) as folder:
            temporary = folder / path.name
            temporary.touch()
            yield temporary
            _move(temporary, path, folder / "earlier")
    except OSError as error:
        if _is_fault_of(path, temporary, error):
            raise GraftError(file_fault(OSError(error.errno, error.strerror, str(path)))) from error
        raise


def _move(new: Path, path: Path, earlier: Path) -> None:
    """Move a file or folder to `path`, where a file or folder may be."""
    if not (new.is_dir() or path.is_dir()):
        os.replace(new, path)
        return
    # The system replaces no folder that holds something, and no file by a folder.
    if path.exists():
        os.replace(path, earlier)
    try:
        os.replace(new, path)
    except OSError:
        if earlier.exists():
            os.replace(earlier, path)
        raise


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_fault_of(path: Path, temporary: Path, error: OSError) -> bool:
    """Say whether an error is about writing a file, not about another file that is read meanwhile."""
    if error.errno is None:
        return False
    places = (temporary, temporary.parent, path, *path.parents)
    return error.errno in FULL_DISK or error.filename in (None, *map(str, places))


def require_no_folder(path: str | Path, option: str = "") -> None:
    """Check that a file can be written to a path without the loss of a folder that is there.

    Raises
    ------
    GraftError
        If there is one; the line begins with the option that gave the path.
    """
    if Path(path).is_dir():
        raise GraftError(f"{option} {path}: a folder, which a file would replace; give the name of a file".lstrip())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically. A folder in its place is refused with a `GraftError`."""
    with replacing(path) as temporary:
        require_no_folder(path)
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as JSON, atomically: two spaces of indent, keys in the order given, a newline at the end.

    Raises
    ------
    ValueError
        If a number is NaN or infinite: JSON has no such value, and a metric must not be one.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    GraftError
        If the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GraftError(f"{path}: no such file; `dvc repro` writes it") from error
    except (ValueError, RecursionError) as error:
        raise GraftError(f"{path}: not a JSON file ({error}); `dvc repro` writes it anew") from error


def write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV file atomically: a header line, `columns` in the order given, LF line ends."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV file with a header line: a dictionary for each row, every value a string.

    Raises
    ------
    GraftError
        If the file is missing, or no CSV file in UTF-8.
    """
    return list(_each_row(path))


@dataclass(frozen=True)
class Rows:
    """Rows of a table that need not fit in memory: each loop over them reads them from the start.

    Attributes
    ----------
    read : returns an iterator over all rows, each time that it is called.
    """

    read: Callable[[], Iterator[dict[str, str]]]

    def __iter__(self) -> Iterator[dict[str, str]]:
        return self.read()


def rows_of(path: str | Path) -> Rows:
    """Return the rows of a CSV file, as `read_rows` does, but one at a time in each loop."""
    return Rows(lambda: _each_row(path))


def _each_row(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file, one at a time. Raises what `read_rows` raises."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file, strict=True)
    except FileNotFoundError as error:
        raise GraftError(f"{path}: no such file; `dvc repro` writes it") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise GraftError(f"{path}: not a CSV file ({error}); `dvc repro` writes it anew") from error


def table_bytes(path: Path) -> bytes:
    """Return the bytes of a CSV file, or of all files of a folder of CSV files as one file."""
    if not path.is_dir():
        return path.read_bytes()
    return joined_tables([file.read_bytes() for file in sorted(path.glob("*.csv"))])


def joined_tables(contents: Sequence[bytes]) -> bytes:
    """Return CSV files that have the same header line as one file."""
    return b"".join(content if number == 0 else content.partition(b"\n")[2] for number, content in enumerate(contents))


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    # Only here: `graft predict` needs no hash, and hashlib takes 4 MiB.
    import hashlib

    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
