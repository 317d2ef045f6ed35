"""The content-addressed store of computed activations, shared by every process of a machine.

It is only an accelerator: deleting its folder changes no result, only the time until it is there. Each
namespace is a folder with one SQLite file (record_file.py says why): damage stays within it.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from graft.activations.record_file import Contents, RecordFile
from graft.activations.record_folder import RecordFolder, say
from graft.core.byte_sizes import parse_size, readable
from graft.core.errors import GraftError
from graft.core.paths import cache_folder

DEFAULT_LIMIT = "20GB"
# The folder is measured anew after at most this much was written, for other processes write too.
MEASURE_BYTES = 64 * 10**6
# This share of the limit is evicted beyond need, so that not every batch has to.
SLACK = 0.05
# Each run that uses a record renews its last use once, and then at most this often: reading is not writing.
RENEW_SECONDS = 3600
PENDING_USES = 4096
# Pages that evicted records share with others are not freed at once, hence more than one round.
EVICTION_ROUNDS = 3

Key = str | bytes
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Verdict:
    """What `Store.verify` found: whole records, broken ones it dropped, damaged files it deleted."""

    whole: int
    broken: int
    damaged_files: int


def namespace_of(fields: Mapping[str, str]) -> str:
    """Return the SHA-256, in hexadecimal, of everything but the image that the stored numbers depend on."""
    return hashlib.sha256(json.dumps(dict(fields), sort_keys=True).encode("ascii")).hexdigest()


def default_folder() -> Path:
    """Return $GRAFT_STORE, or else .cache/activations in the repository."""
    return Path(os.environ.get("GRAFT_STORE") or cache_folder() / "activations")


def _encoded(keys: Iterable[Key]) -> dict[bytes, Key]:
    return {key.encode("utf-8") if isinstance(key, str) else key: key for key in keys}


class Store:
    """Arrays by namespace and key, kept between runs.

    Any number of processes and threads may read and write at once; a process started by fork opens its own.
    Memory does not grow with what is stored. Every method raises `GraftError` if the disk is full or the
    folder cannot be written; what was stored before stays valid.

    Parameters
    ----------
    folder
        Created when the first array is put.
    limit_bytes
        The size to stay under; by default $GRAFT_STORE_LIMIT, such as "5GB", or 20 GB. A store object evicts
        nothing that it has read, asked for or written: if that alone is over the limit, one line says so and
        the folder grows.
    clock
        Returns the seconds since 1970.
    """

    def __init__(
        self, folder: str | Path, limit_bytes: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        if limit_bytes is None:
            limit = os.environ.get("GRAFT_STORE_LIMIT") or DEFAULT_LIMIT
            limit_bytes = parse_size(limit, "GRAFT_STORE_LIMIT")
        self.folder = Path(folder)
        self.limit_bytes = limit_bytes
        self.dropped = 0
        self._clock = clock
        self._opened = clock()
        self._files = RecordFolder(self.folder)
        self._used: dict[str, set[bytes]] = {}
        self._headroom = 0.0
        self._said_over_limit = False

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Note what was used and close all files; report in one line how many broken records were dropped."""
        with self._files.guard:
            self._note_uses()
            self._files.close()
            if self.dropped:
                say(f"{self.folder}: {self.dropped} broken records were dropped, to be computed again")
                self.dropped = 0

    def describe(self, namespace: str, fields: Mapping[str, str]) -> None:
        """Say for people what `namespace` holds; kept if this store is the first to put something into it."""
        self._files.descriptions[namespace] = ", ".join(f"{name} {value}" for name, value in fields.items())

    def get_many(self, namespace: str, keys: Iterable[Key]) -> dict[Key, np.ndarray]:
        """Return the arrays (read-only) of those keys that are present and whole.

        A record whose checksum fails is deleted and counted in `dropped`.
        """
        asked, renew = _encoded(keys), self._renew_before()
        rows = self._files.use(namespace, lambda file: list(file.arrays(asked, renew)), [])
        self._note(namespace, (key for key, _, stale in rows if stale))
        if broken := [key for key, array, _ in rows if array is None]:
            self.dropped += len(broken)
            self._files.use(namespace, lambda file: file.drop(broken), None)
        return {asked[key]: array for key, array, _ in rows if array is not None}

    def contains_many(self, namespace: str, keys: Iterable[Key]) -> set[Key]:
        """Return the keys that have a record; whether it is whole shows when it is read.

        To ask counts as use: a run that first asks for all its keys will not evict them.
        """
        asked, renew = _encoded(keys), self._renew_before()
        rows = self._files.use(namespace, lambda file: list(file.present(asked, renew)), [])
        self._note(namespace, (key for key, stale in rows if stale))
        return {asked[key] for key, _ in rows}

    def put_many(self, namespace: str, arrays: Mapping[Key, np.ndarray]) -> None:
        """Store arrays of numbers or booleans, all or none of them; those already present stay."""
        encoded = {key: np.asarray(arrays[original]) for key, original in _encoded(arrays).items()}
        with self._files.guard:
            self._make_room(sum(array.nbytes for array in encoded.values()))
            self._files.use(namespace, lambda file: file.put(encoded, self._clock()), None, create=True)

    def size(self) -> int:
        """Return the bytes of all the store's files on disk."""
        return self._files.size()

    def contents(self) -> list[Contents]:
        """Return what each namespace holds, the most recently used first."""
        contents = filter(None, self._of_each(RecordFile.contents))
        return sorted(contents, key=lambda one: -one.last_used)

    def verify(self) -> Verdict:
        """Read every record; delete those that are not whole, and files whose structure is broken."""
        counts = self._of_each(RecordFile.verify)
        sound = list(filter(None, counts))
        whole, broken = (sum(numbers) for numbers in zip((0, 0), *sound, strict=True))
        return Verdict(whole, broken, len(counts) - len(sound))

    def _of_each(self, action: Callable[[RecordFile], Answer]) -> list[Answer | None]:
        with self._files.guard, self._files.closing_others():
            return [self._files.use(namespace, action, None) for namespace in self._files.namespaces()]

    def prune(self, limit_bytes: int | None = None) -> int:
        """Evict what was unused longest until the store is within the limit; return the bytes freed on disk.

        What this store object has read, asked for or written since it was opened is kept.
        """
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        if not self.folder.is_dir():
            return 0
        before = self.size()
        with self._files.guard, self._files.only_process("pruning"), self._files.closing_others():
            self._note_uses()
            self._files.fold_logs()
            for _ in range(EVICTION_ROUNDS):
                excess = self.size() - limit
                if excess <= 0 or not self._evict(excess):
                    break
        return max(0, before - self.size())

    def _make_room(self, size: int) -> None:
        """Before `size` bytes are written, evict if the folder would grow over the limit."""
        if size > self._headroom:
            if self.size() + size > self.limit_bytes:
                self.prune(int(self.limit_bytes * (1 - SLACK)) - size)
            total = self.size() + size
            if total > self.limit_bytes:
                self._say_over_limit(total)
            left = self.limit_bytes - total if total <= self.limit_bytes else self.limit_bytes * SLACK
            self._headroom = size + min(left, MEASURE_BYTES)
        self._headroom -= size

    def _say_over_limit(self, total: int) -> None:
        if not self._said_over_limit:
            self._said_over_limit = True
            say(
                f"{self.folder}: this run needs {readable(total)}, over the limit of "
                f"{readable(self.limit_bytes)} (GRAFT_STORE_LIMIT); what it uses is kept until the next run"
            )

    def _evict(self, excess: int) -> bool:
        victims = self._oldest(excess)
        for namespace, groups in victims.items():
            self._files.use(namespace, lambda file, groups=groups: self._evict_from(file, groups), None)
        return bool(victims)

    def _oldest(self, excess: int) -> dict[str, list[tuple[float, int]]]:
        """Return by namespace times of last use, and how many records of each, that free `excess` bytes."""
        usages = self._of_each(lambda file: [(used, file.namespace, *rest) for used, *rest in file.usage()])
        victims: dict[str, list[tuple[float, int]]] = {}
        for used, namespace, count, size in sorted(chain.from_iterable(filter(None, usages))):
            if used >= self._opened or excess <= 0:
                break
            victims.setdefault(namespace, []).append((used, min(count, -(-excess * count // max(size, 1)))))
            excess -= size
        return victims

    def _evict_from(self, file: RecordFile, groups: list[tuple[float, int]]) -> None:
        # The write lock keeps other processes from adding a record that would vanish with the folder.
        with file.transaction():
            everything = sum(count for _, count in groups) == sum(count for _, count, _ in file.usage())
            if everything:
                self._files.remove(file.namespace)
        if not everything:
            for used, count in groups:
                file.evict(used, count)
            file.shrink()

    def _renew_before(self) -> float:
        return max(self._opened, self._clock() - RENEW_SECONDS)

    def _note(self, namespace: str, keys: Iterable[bytes]) -> None:
        with self._files.guard:
            self._used.setdefault(namespace, set()).update(keys)
            if len(self._used[namespace]) >= PENDING_USES:
                self._note_uses()

    def _note_uses(self) -> None:
        for namespace, keys in self._used.items():
            if keys:
                # A full disk must not stop a reader; these records only look older than they are.
                with suppress(GraftError):
                    self._files.use(namespace, lambda file, keys=keys: file.touch(keys, self._clock()), None)
        self._used.clear()
