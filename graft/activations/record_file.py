"""One SQLite file of checksummed arrays: what the store of activations keeps for one namespace.

Why SQLite, and these settings (measured on two shared cores, records of 37 KB and 5 KB): a truncated LMDB file kills
the process by SIGBUS, and its mapped pages count as resident memory (500 MB after reading 600 MB; here 45 MB
whatever the size), which reads two to four times faster do not repay: 15,000 and 30,000 records/s are far more than
training asks for. Pages of 16 KB waste 2 % and 8 % (64 KB: 75 %; 8 KB: 60 % at 5 KB) and are written faster than
smaller ones. `synchronous=NORMAL` survives a power cut; `OFF` writes three times faster, but 130 MB/s is ten times
what a network produces. CRC-32 (2.6 GB/s) finds any burst of up to 32 wrong bits; SHA-256 takes twice as long with
the processor's help, and ten times without.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from graft.core.errors import GraftError

PAGE_BYTES = 16384
# At most 8 MB of cached pages, never memory-mapped; the structure is checked as it is read.
SETTINGS = "cache_size=-8000 journal_size_limit=32000000 synchronous=NORMAL cell_size_check=1"
BUSY_SECONDS = 60
VERSION = 1
# SQLite allows 999 variables in a statement before version 3.32.
KEYS_PER_STATEMENT = 500
VACUUM_PAGES = 4096
LARGEST = 10**15  # beyond every number of seconds or bytes that a sound file holds
CHECKSUM_BYTES = 4
ALIGNMENT = 16  # of the array's bytes, so that numpy reads them aligned
STORABLE_KINDS = "biufc"

# `used` and `bytes` live apart from the data: renewing `used` must not rewrite an array.
TABLES = (
    "CREATE TABLE about (description TEXT NOT NULL)",
    "CREATE TABLE arrays (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE records (key BLOB PRIMARY KEY, id INTEGER NOT NULL, used REAL NOT NULL,"
    " bytes INTEGER NOT NULL) WITHOUT ROWID",
)
CREATION = f"page_size={PAGE_BYTES} auto_vacuum=INCREMENTAL journal_mode=WAL user_version={VERSION}"
DELETE_ARRAY = "DELETE FROM arrays WHERE id = (SELECT id FROM records WHERE key = ?)"
DESCRIPTION = "SELECT CAST(coalesce(max(description), '') AS BLOB) FROM about"
NEXT_RECORDS = "SELECT key, data FROM records LEFT JOIN arrays USING (id) WHERE key > ? ORDER BY key LIMIT 64"

READ_ONLY = "attempt to write a readonly database"
# SQLite's messages for what is no fault of the file (Python 3.10 gives no codes). Any other error is damage.
SURROUNDINGS = {
    "database or disk is full": "the disk is full; free some space and run again",
    "disk I/O error": "the disk is full or failing; free some space and run again",
    "unable to open database file": "it cannot be written; set GRAFT_STORE to a folder you may write in",
    READ_ONLY: "it is read-only; set GRAFT_STORE to a folder you may write in",
    "database is locked": f"another process has held it for {BUSY_SECONDS} s; end that and run again",
}


class DamagedFile(Exception):
    """The file is not what was once written, and nothing in it is to be believed."""


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
    """Return the read-only array that was packed, or None if the record is not whole."""
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
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except UnicodeDecodeError as error:  # SQLite quotes the broken bytes in its message
        raise DamagedFile("unreadable table definition") from error
    except sqlite3.DatabaseError as error:
        remedy = SURROUNDINGS.get(str(error))
        # One wrong byte in its header makes any file read-only to SQLite.
        if remedy and not (str(error) == READ_ONLY and os.access(path, os.W_OK)):
            raise GraftError(f"{path}: {remedy}") from error
        raise DamagedFile(str(error)) from error


def create_file(path: Path, description: str) -> None:
    """Write an empty file of records; `description` says for people what it holds.

    Raises
    ------
    GraftError
        If the disk is full or the folder cannot be written.
    """
    with _translated(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            for statement in [*(f"PRAGMA {setting}" for setting in CREATION.split()), *TABLES]:
                connection.execute(statement)
            connection.execute("INSERT INTO about VALUES (?)", [description])
        finally:
            connection.close()


def _batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    keys = iter(keys)
    return iter(lambda: list(islice(keys, KEYS_PER_STATEMENT)), [])


@dataclass(frozen=True)
class Contents:
    """What one namespace holds: number of records, their bytes, and the last use in seconds since 1970."""

    namespace: str
    description: str
    records: int
    size: int
    last_used: float


class RecordFile:
    """An open file of records, for one process; any of its threads may use it, one at a time.

    Every method raises `DamagedFile` if SQLite finds the file's structure broken, and `GraftError` if the
    disk is full, the file is read-only or another process holds it too long.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        self.namespace = namespace
        self.inode = path.stat().st_ino
        # The checksum also covers where a record belongs: broken pages must not exchange two records.
        self._checksum_start = zlib.crc32(namespace.encode("ascii"))
        with _translated(self.path):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
            )
        # Bytes that are no UTF-8 must reach the checks below, not stop the read.
        self._connection.text_factory = bytes
        try:
            self._settle()
        except BaseException:
            self._connection.close()
            raise

    def _settle(self) -> None:
        with _translated(self.path):
            for setting in SETTINGS.split():
                self._connection.execute(f"PRAGMA {setting}")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            tables = self._connection.execute("SELECT sql FROM sqlite_master").fetchall()
        # SQLite takes PRILARY KEY, say, for the name of a type, and would never find a record again.
        if version != VERSION or tables != [(table.encode("ascii"),) for table in TABLES]:
            raise DamagedFile("empty, or not of the format that is read here")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock; commit at the end of the block, or change nothing if it raises."""
        with _translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _rows(self, statement: str, values: Sequence = ()) -> list[tuple]:
        with _translated(self.path):
            return self._connection.execute(statement, values).fetchall()

    def _start(self, key: bytes) -> int:
        return zlib.crc32(key, self._checksum_start)

    def close(self) -> None:
        """Close the file; the last process to do so folds SQLite's write-ahead log into it."""
        self._connection.close()

    def arrays(self, keys: Iterable[bytes], used_before: float) -> Iterator[tuple[bytes, np.ndarray | None, bool]]:
        """Yield key, array (None if broken) and whether its last use lies before `used_before`."""
        for key, record, stale in self._look_up("records.key, data, used < ?", keys, used_before):
            yield key, unpack(record, self._start(key)), stale

    def present(self, keys: Iterable[bytes], used_before: float) -> Iterator[tuple[bytes, bool]]:
        """Yield the keys present, whole or not, and whether the last use lies before `used_before`."""
        return self._look_up("records.key, used < ?", keys, used_before)

    def _look_up(self, columns: str, keys: Iterable[bytes], used_before: float) -> Iterator[tuple]:
        for batch in _batches(keys):
            marks = ",".join("?" * len(batch))
            rows = self._rows(
                f"SELECT {columns} FROM records JOIN arrays USING (id) WHERE records.key IN ({marks})",
                [used_before, *batch],
            )
            # A broken index can send a search astray.
            if not {row[0] for row in rows} <= set(batch):
                raise DamagedFile("the index leads to other keys")
            yield from rows

    def put(self, arrays: Mapping[bytes, np.ndarray], now: float) -> int:
        """Store the arrays whose keys have no record yet, all or none of them; return the bytes added."""
        records = {key: pack(array, self._start(key)) for key, array in arrays.items()}
        with self.transaction() as connection:
            present = {key for key, _ in self.present(records, now)}
            rows = []
            for key in [key for key in records if key not in present]:
                cursor = connection.execute("INSERT INTO arrays (data) VALUES (?)", [records[key]])
                rows.append((key, cursor.lastrowid, now, len(records[key])))
            connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", rows)
        return sum(row[-1] for row in rows)

    def touch(self, keys: Iterable[bytes], now: float) -> None:
        """Note that these records were used now."""
        with self.transaction() as connection:
            connection.executemany("UPDATE records SET used = ? WHERE key = ?", ((now, key) for key in keys))

    def drop(self, keys: Iterable[bytes]) -> None:
        """Delete the records of these keys."""
        with self.transaction() as connection:
            for key in keys:
                connection.execute(DELETE_ARRAY, [key])
                connection.execute("DELETE FROM records WHERE key = ?", [key])

    def usage(self) -> list[tuple[float, int, int]]:
        """Return time of last use (seconds since 1970), number of records and their bytes, oldest first."""
        rows = self._rows("SELECT used, count(*), sum(bytes) FROM records GROUP BY used ORDER BY used")
        values = [value for row in rows for value in row]
        if not all(isinstance(value, int | float) and 0 <= value < LARGEST for value in values):
            raise DamagedFile("a time or a size that cannot be")
        return rows

    def contents(self) -> Contents:
        """Return what the file holds."""
        usage = self.usage()
        description = self._rows(DESCRIPTION)[0][0].decode("utf-8", "replace")
        records, size = sum(count for _, count, _ in usage), sum(size for *_, size in usage)
        return Contents(self.namespace, description, records, size, usage[-1][0] if usage else 0.0)

    def evict(self, used: float, count: int) -> None:
        """Delete `count` of the records last used at the time `used`, in the order they were written."""
        rows = self._rows("SELECT key FROM records WHERE used = ? ORDER BY id LIMIT ?", [used, count])
        for batch in _batches(row[0] for row in rows):
            self.drop(batch)

    def shrink(self) -> None:
        """Give the space of deleted records back to the disk, in steps that keep SQLite's log small."""
        before = None
        while (free := self._rows("PRAGMA freelist_count")[0][0]) not in (0, before):
            # One step frees one page, and of a statement without columns `execute` takes a single step.
            with _translated(self.path):
                self._connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            self.fold_log()
            before = free

    def fold_log(self) -> None:
        """Move the write-ahead log into the file and empty it."""
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def verify(self) -> tuple[int, int]:
        """Read everything and delete what is not whole; return the numbers of whole and broken records."""
        faults = [row[0] for row in self._rows("PRAGMA integrity_check(1)")]
        if faults != [b"ok"]:
            raise DamagedFile(faults[0].decode("utf-8", "replace").splitlines()[-1])
        whole = broken = 0
        key = b""
        # In short reads, for a long one would keep writers from folding their log.
        while rows := self._rows(NEXT_RECORDS, [key]):
            bad = [key for key, record in rows if unpack(record, self._start(key)) is None]
            self.drop(bad)
            whole, broken, key = whole + len(rows) - len(bad), broken + len(bad), rows[-1][0]
        with self.transaction() as connection:
            connection.execute("DELETE FROM arrays WHERE id NOT IN (SELECT id FROM records)")
        return whole, broken
