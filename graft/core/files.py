"""Atomic writes, JSON, CSV and content hashes of files."""

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from graft.core.errors import FULL_DISK, GraftError, file_fault

CHUNK_BYTES = 1 << 20


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move that file to `path` when the block ends without an error.

    Until then an earlier file stays as it was. After an error the temporary file is removed.

    Raises
    ------
    GraftError
        If the file cannot be written: the disk is full, or the folder read-only, say.
    """
    path = Path(path)
    # The suffix is kept: NumPy and Keras choose the format by it. A whole long name would become too long.
    temporary = path.with_name(f".part-{secrets.token_hex(8)}{path.name[-32:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by `tempfile`: its files have permissions of their own, and the umask cannot be read without setting it.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if _is_fault_of(path, temporary, error):
            raise GraftError(file_fault(OSError(error.errno, error.strerror, str(path)))) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_fault_of(path: Path, temporary: Path, error: OSError) -> bool:
    """Say whether an error is about writing a file, not about another file that is read meanwhile."""
    if error.errno is None:
        return False
    return error.errno in FULL_DISK or error.filename in (None, *map(str, (temporary, path, *path.parents)))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
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


def read_json(path: str | Path) -> object:
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
    except ValueError as error:
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
        If the file is missing.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise GraftError(f"{path}: no such file; `dvc repro` writes it") from error


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
