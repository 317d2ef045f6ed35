"""The content-addressed store of computed activations, shared by all processes of a machine.

It only saves time: without its folder all results are the same. Each namespace is a folder with one SQLite file
(record_file.py says why), so that damage stays within it and it can be removed as a whole.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.activations.record_file import RecordFile
from graft.activations.record_folder import RecordFolder, report
from graft.core.byte_sizes import parse_size, readable
from graft.core.errors import GraftError
from graft.core.mounts import network_type
from graft.core.paths import cache_folder

DEFAULT_LIMIT = "20GB"
# The folder is measured again after at most this much was written, for other processes write too.
MEASURE_BYTES = 64 * 10**6

Key = str | bytes


@dataclass(frozen=True)
class Contents:
    """What one namespace holds: number of records, bytes on disk, and the last use in seconds since 1970."""

    namespace: str
    description: str
    records: int
    size: int
    last_used: float


@dataclass(frozen=True)
class Verdict:
    """What `Store.verify` found: whole records, broken ones it deleted, damaged files it deleted."""

    whole: int
    broken: int
    damaged_files: int


def namespace_of(fields: Mapping[str, str]) -> str:
    """Return the SHA-256, in hexadecimal, of everything but the image that the stored numbers depend on."""
    return hashlib.sha256(json.dumps(dict(fields), sort_keys=True).encode("ascii")).hexdigest()


def default_limit() -> int:
    """Return the bytes of $GRAFT_STORE_LIMIT, such as "5GB", or else of 20 GB."""
    return parse_size(os.environ.get("GRAFT_STORE_LIMIT") or DEFAULT_LIMIT, "GRAFT_STORE_LIMIT")


def default_folder() -> Path:
    """Return $GRAFT_STORE, or else .cache/activations in the repository."""
    return Path(os.environ.get("GRAFT_STORE") or cache_folder() / "activations")


def _encoded(keys: Iterable[Key]) -> dict[bytes, Key]:
    return {key.encode("utf-8") if isinstance(key, str) else key: key for key in keys}


class Store:
    """Arrays by namespace and key, kept between runs.

    Any number of processes and threads may read and write at once; a process started by fork opens its own store.
    Memory does not grow with what is stored. Every method raises `GraftError` if the disk is full or the folder cannot
    be written; what was stored before stays valid.

    Parameters
    ----------
    folder
        Created when the first array is put.
    limit_bytes
        The size to stay under; None for `default_limit`. Before the store grows over it, the namespaces unused longest
        are removed. A namespace that any open store has read, asked for or written stays: if those alone are over the
        limit, one line says so and the folder grows.

    Raises
    ------
    GraftError
        If the folder is on a network file system: SQLite's locks and its log in shared memory do not reach other
        machines there, so that two of them would damage the files (https://www.sqlite.org/wal.html).
    """

    def __init__(self, folder: str | Path, limit_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        if kind := network_type(self.folder):
            raise GraftError(
                f"{self.folder}: it is on a network file system ({kind}), where several machines would damage the "
                "store; set GRAFT_STORE to a folder on a disk of this machine"
            )
        self.limit_bytes = default_limit() if limit_bytes is None else limit_bytes
        self.dropped = 0
        self._files = RecordFolder(self.folder)
        self._bytes_before_measuring = 0
        self._over_limit_reported = False

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; report in one line how many broken records were deleted."""
        with self._files.guard:
            self._files.close()
            if self.dropped:
                report(f"{self.folder}: {self.dropped} broken records were deleted; they will be computed again")
                self.dropped = 0

    def describe(self, namespace: str, fields: Mapping[str, str]) -> None:
        """Set the description that people read in `contents`; it is written when the namespace is created."""
        self._files.descriptions[namespace] = ", ".join(f"{name} {value}" for name, value in fields.items())

    def get_many(self, namespace: str, keys: Iterable[Key]) -> dict[Key, np.ndarray]:
        """Return the arrays (read-only) of those keys that are present and whole.

        A record whose checksum is wrong is deleted and counted in `dropped`.
        """
        asked = _encoded(keys)
        found: dict[bytes, np.ndarray | None] = self._files.use(namespace, lambda file: dict(file.arrays(asked)), {})
        if broken := [key for key, array in found.items() if array is None]:
            self.dropped += len(broken)
            self._files.use(namespace, lambda file: file.delete(broken), None)
        return {asked[key]: array for key, array in found.items() if array is not None}

    def contains_many(self, namespace: str, keys: Iterable[Key]) -> set[Key]:
        """Return the keys that have a record; whether it is whole shows when it is read."""
        asked = _encoded(keys)
        present: list[bytes] = self._files.use(namespace, lambda file: list(file.present(asked)), [])
        return {asked[key] for key in present}

    def put_many(self, namespace: str, arrays: Mapping[Key, np.ndarray]) -> None:
        """Store arrays of numbers or booleans, all or none of them; those already present stay."""
        encoded = {key: np.asarray(arrays[original]) for key, original in _encoded(arrays).items()}
        size = sum(array.nbytes for array in encoded.values())

        def put(file: RecordFile) -> None:
            # With the file open, for its namespace must not be what is removed.
            self._make_room(size)
            file.put(encoded)

        self._files.use(namespace, put, None, create=True)

    @contextmanager
    def computing(self, namespace: str) -> Iterator[None]:
        """Let one process (or thread) at a time into the block, which computes what the namespace lacks.

        The next one waits, and then finds what the first has stored. One that is killed leaves the block at once. On
        Windows nobody waits: what two compute at once is stored once.
        """
        with self._files.only_computing(namespace):
            yield

    def size(self) -> int:
        """Return the bytes of all the store's files on disk."""
        return self._files.size()

    def contents(self) -> list[Contents]:
        """Return what each namespace holds, the most recently used first. To look counts as no use."""
        contents = []
        for namespace, records in self._files.each(RecordFile.count).items():
            if records is not None:
                description, last_used = self._files.about(namespace)
                contents.append(Contents(namespace, description, records, self._files.size(namespace), last_used))
        return sorted(contents, key=lambda one: -one.last_used)

    def verify(self) -> Verdict:
        """Read every record; delete the broken ones, and files whose structure is broken."""
        counts = self._files.each(RecordFile.verify).values()
        sound = [count for count in counts if count is not None]
        whole, broken = (sum(numbers) for numbers in zip((0, 0), *sound, strict=True))
        return Verdict(whole, broken, len(counts) - len(sound))

    def prune(self, limit_bytes: int | None = None) -> int:
        """Remove the namespaces unused longest until the store is within the limit; return the bytes freed on disk.

        What any open store has read, asked for or written stays.
        """
        if not self.folder.is_dir():
            return 0
        return self._files.evict(self.limit_bytes if limit_bytes is None else limit_bytes)

    def _make_room(self, size: int) -> None:
        """Remove namespaces if the store would grow over its limit by `size` bytes more."""
        self._bytes_before_measuring -= size
        if self._bytes_before_measuring >= 0:
            return
        total = self.size() + size
        if total > self.limit_bytes:
            total -= self.prune(self.limit_bytes - size)
        left = self.limit_bytes - total
        if left < 0:
            self._report_over_limit(total)
        self._bytes_before_measuring = min(left, MEASURE_BYTES) if left >= 0 else MEASURE_BYTES

    def _report_over_limit(self, total: int) -> None:
        if not self._over_limit_reported:
            self._over_limit_reported = True
            report(
                f"{self.folder}: needs {readable(total)}, more than its limit of {readable(self.limit_bytes)} "
                "(GRAFT_STORE_LIMIT); all of it is in use, so nothing is removed; "
                "raise the limit, or run `graft store prune` when this run has ended"
            )
