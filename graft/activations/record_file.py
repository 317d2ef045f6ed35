"""One SQLite file of checksummed arrays: what the store of activations keeps for one namespace.

Why SQLite, and these settings (measured on two shared cores, records of 37 KB and 5 KB):

- LMDB reads two to four times faster, but 15,000 and 30,000 records/s are far more than training asks for. A truncated
  LMDB file kills the process by SIGBUS, and its mapped pages count as resident memory: 500 MB after reading 600 MB,
  against 45 MB here whatever the size.
- Pages of 16 KB waste 2 % and 8 % of the space (64 KB: 75 %; 8 KB: 60 % at 5 KB), and SQLite writes them faster than
  smaller ones.
- `synchronous=NORMAL` survives a power cut. `OFF` writes three times faster, but 130 MB/s is ten times what a network
  produces.
- CRC-32 (2.6 GB/s) finds any burst of up to 32 wrong bits. SHA-256 takes twice as long with the processor's help, and
  ten times as long without.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import GraftError

PAGE_BYTES = 16384
# At most 8 MB of cached pages, never memory-mapped; SQLite checks the structure of each page that it reads.
SETTINGS = "cache_size=-8000 journal_size_limit=32000000 synchronous=NORMAL cell_size_check=1"
BUSY_SECONDS = 60
VERSION = 2
# SQLite allows 999 variables in a statement before version 3.32.
KEYS_PER_STATEMENT = 500
CHECKSUM_BYTES = 4
ALIGNMENT = 16  # of the array's bytes, so that numpy reads them aligned
STORABLE_KINDS = "biufc"

TABLE = "CREATE TABLE records (key BLOB PRIMARY KEY NOT NULL, data BLOB NOT NULL)"
CREATION = f"page_size={PAGE_BYTES} journal_mode=WAL user_version={VERSION}"
NEXT_RECORDS = "SELECT key, data FROM records WHERE key > ? ORDER BY key LIMIT 64"

# The errors of SQLite that are no fault of the file. Any other error is damage.
OTHER_FAULTS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and run again",
    sqlite3.SQLITE_IOERR: "the disk is full or failing; free some space and run again",
    sqlite3.SQLITE_CANTOPEN: "cannot open the file; set GRAFT_STORE to a folder you can write to",
    sqlite3.SQLITE_READONLY: "the file is read-only; set GRAFT_STORE to a folder you can write to",
    sqlite3.SQLITE_BUSY: f"another process has locked the file for {BUSY_SECONDS} s; stop it and run again",
}


class DamagedFile(Exception):  # noqa: N818 - the state of a file
    """The file is not what was once written; nothing in it can be trusted."""


def pack(array: np.ndarray, checksum_start: int) -> bytes:
    """Return `array` as one record: CRC-32, dtype, shape, padding and the elements in C order.

    Raises
    ------
    TypeError
        If the elements are not booleans or numbers of a NumPy type.
    """
    if array.dtype.kind not in STORABLE_KINDS:
        raise TypeError(f"arrays of dtype {array.dtype} cannot be stored; expected booleans or numbers")
    description = f"{array.dtype.str} {','.join(map(str, array.shape))}"
    length = CHECKSUM_BYTES + len(description) + 1
    header = (description + " " * (-length % ALIGNMENT) + "\n").encode("ascii")
    body = header + array.tobytes()
    return zlib.crc32(body, checksum_start).to_bytes(CHECKSUM_BYTES, "big") + body


def unpack(record: object, checksum_start: int) -> np.ndarray | None:
    """Return the array of a record, read-only, or None if the record is broken."""
    if not isinstance(record, bytes) or len(record) <= CHECKSUM_BYTES:
        return None
    body = memoryview(record)[CHECKSUM_BYTES:]
    if zlib.crc32(body, checksum_start).to_bytes(CHECKSUM_BYTES, "big") != record[:CHECKSUM_BYTES]:
        return None
    header_end = record.index(b"\n", CHECKSUM_BYTES) + 1
    dtype, _, shape = record[CHECKSUM_BYTES:header_end].decode("ascii").strip().partition(" ")
    elements = np.frombuffer(record, dtype, offset=header_end)
    return elements.reshape([int(size) for size in shape.split(",") if size])


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Raise `GraftError` or `DamagedFile` in place of SQLite's own errors."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except UnicodeDecodeError as error:  # SQLite quotes the broken bytes in its message
        raise DamagedFile("unreadable table definition") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest of the bits is detail
        # One wrong byte in its header makes any file read-only to SQLite.
        read_only_by_header = code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
        if code in OTHER_FAULTS and not read_only_by_header:
            raise GraftError(f"{path}: {OTHER_FAULTS[code]}") from error
        raise DamagedFile(str(error)) from error


def create_file(path: Path) -> None:
    """Write an empty file of records.

    Raises
    ------
    GraftError
        If the disk is full or the folder cannot be written.
    """
    with _sqlite_errors(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            for statement in [*(f"PRAGMA {setting}" for setting in CREATION.split()), TABLE]:
                connection.execute(statement)
        finally:
            connection.close()


def _batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    keys = iter(keys)
    return iter(lambda: list(islice(keys, KEYS_PER_STATEMENT)), [])


class RecordFile:
    """An open file of records, for one process; any of its threads may use it, one at a time.

    Every method raises `DamagedFile` if SQLite finds the file's structure broken, and `GraftError` if the disk is full,
    the file is read-only, or another process locks it too long.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        self.inode = path.stat().st_ino
        # The checksum also covers namespace and key: a broken page must not give one record for another.
        self._namespace_checksum = zlib.crc32(namespace.encode("ascii"))
        with _sqlite_errors(self.path):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
            )
        # As bytes, for broken text need not be UTF-8, and the checks below must see it.
        self._connection.text_factory = bytes
        try:
            self._configure()
        except BaseException:
            self._connection.close()
            raise

    def _configure(self) -> None:
        for setting in SETTINGS.split():
            self._rows(f"PRAGMA {setting}")
        version = self._rows("PRAGMA user_version")[0][0]
        tables = self._rows("SELECT sql FROM sqlite_master")
        # SQLite would take "PRILARY KEY" for the name of a type, and find no record again. (None: the key's index.)
        if version != VERSION or tables != [(TABLE.encode("ascii"),), (None,)]:
            raise DamagedFile("empty, or of another format")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Lock the file for writing; commit at the end of the block, or change nothing if it raises."""
        with _sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _sqlite_errors(self.path):
            return self._connection.execute(statement, values).fetchall()

    def _checksum_start(self, key: bytes) -> int:
        return zlib.crc32(key, self._namespace_checksum)

    def close(self) -> None:
        """Close the file; the last process to do so moves SQLite's write-ahead log into it."""
        self._connection.close()

    def arrays(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, np.ndarray | None]]:
        """Yield the keys that have a record, each with its array, or None if the record is broken."""
        for key, record in self._find("key, data", keys):
            yield key, unpack(record, self._checksum_start(key))

    def present(self, keys: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the keys that have a record, whole or broken."""
        return (key for (key,) in self._find("key", keys))

    def _find(self, columns: str, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
        for batch in _batches(keys):
            marks = ",".join("?" * len(batch))
            rows = self._rows(f"SELECT {columns} FROM records WHERE key IN ({marks})", batch)
            if not {row[0] for row in rows} <= set(batch):
                raise DamagedFile("the index leads to other keys")
            yield from rows

    def put(self, arrays: Mapping[bytes, np.ndarray]) -> None:
        """Store the arrays whose keys have no record yet, all or none of them."""
        records = [(key, pack(array, self._checksum_start(key))) for key, array in arrays.items()]
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO records VALUES (?, ?)", records)

    def delete(self, keys: Iterable[bytes]) -> None:
        """Delete the records of these keys; later records take their space."""
        with self._transaction():
            self._connection.executemany("DELETE FROM records WHERE key = ?", ((key,) for key in keys))

    def count(self) -> int:
        """Return the number of records."""
        return self._rows("SELECT count(*) FROM records")[0][0]

    def verify(self) -> tuple[int, int]:
        """Read everything and delete the broken records; return the numbers of whole and broken ones."""
        faults = [row[0] for row in self._rows("PRAGMA integrity_check(1)")]
        if faults != [b"ok"]:
            raise DamagedFile(faults[0].decode("utf-8", "replace").splitlines()[-1])
        whole = broken = 0
        key = b""
        # In short reads: during a long one SQLite's log grows, for no writer can move it into the file.
        while rows := self._rows(NEXT_RECORDS, [key]):
            bad = [key for key, record in rows if unpack(record, self._checksum_start(key)) is None]
            self.delete(bad)
            whole, broken, key = whole + len(rows) - len(bad), broken + len(bad), rows[-1][0]
        return whole, broken
