"""A folder of record files, one for each namespace, which several processes use, rebuild and remove at once."""

import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from graft.activations.record_file import DamagedFile, RecordFile, create_file
from graft.core.errors import GraftError

try:
    import fcntl
except ImportError:  # Windows: processes do not wait for each other; what they do twice or lose is computed again
    fcntl = None  # type: ignore[assignment]

RECORDS = "records.sqlite"
# Its text describes the namespace, its time of change is the last use, and each process that has the namespace open
# holds a shared lock on it.
ABOUT = "about.txt"
# The process that computes records of the namespace holds a lock on it.
COMPUTING = "computing"
ATTEMPTS = 3

Answer = TypeVar("Answer")


def report(message: str) -> None:
    """Print one line about the store on stderr."""
    print(f"store: {message}", file=sys.stderr, flush=True)


class RecordFolder:
    """The record files below `folder`; `guard` lets one thread at a time use them.

    Each namespace has a folder of its own, with its file, SQLite's log of it, and `ABOUT`. One rename makes it appear
    or vanish, so that nobody meets half a file, or a new file with an old log. A process that has a file open notices
    by its inode that another process has replaced it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guard = threading.RLock()
        self.descriptions: dict[str, str] = {}
        self._files: dict[str, RecordFile] = {}
        self._locks: dict[str, TextIO] = {}

    def use(
        self,
        namespace: str,
        action: Callable[[RecordFile], Answer],
        missing: Answer,
        create: bool = False,
        renew: bool = True,
    ) -> Answer:
        """Return `action` of the namespace's file, or `missing` if there is none; delete the file if it is damaged.

        The file stays open until `close`; until then no process evicts the namespace. If `renew` is true, opening it
        renews its last use.

        Raises
        ------
        GraftError
            If the disk is full, the folder cannot be written, or the file is damaged again and again.
        """
        with self.guard, self._folder_errors():
            for _ in range(ATTEMPTS):
                file = self._file(namespace, create, renew)
                if file is None:
                    return missing
                try:
                    answer = action(file)
                except DamagedFile as damage:
                    self._delete_damaged(namespace, damage)
                except GraftError:
                    # SQLite calls a file read-only that another process has replaced meanwhile.
                    if not self._is_replaced(file):
                        raise
                else:
                    # What was written to a file that another process has replaced meanwhile is lost.
                    if not self._is_replaced(file):
                        return answer
        raise GraftError(f"{self._path(namespace)}: damaged again after it was rebuilt; check the disk")

    def each(self, action: Callable[[RecordFile], Answer]) -> dict[str, Answer | None]:
        """Return `action` of each namespace's file by name, or None where it is damaged. This counts as no use."""
        answers = {}
        with self.guard:
            for namespace in self.namespaces():
                was_open = namespace in self._files
                answers[namespace] = self.use(namespace, action, None, renew=False)
                if not was_open:
                    self._close(namespace)
        return answers

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces, sorted."""
        names = (path.parent.name for path in self.folder.glob(f"*/{RECORDS}"))
        return sorted(name for name in names if not name.startswith("."))

    def about(self, namespace: str) -> tuple[str, float]:
        """Return a namespace's description and its last use in seconds since 1970; "" and 0 where nothing says it."""
        path = self.folder / namespace / ABOUT
        try:
            return path.read_text("utf-8", "replace"), path.stat().st_mtime
        except FileNotFoundError:
            return "", 0.0

    def size(self, namespace: str = "") -> int:
        """Return the bytes of a namespace's files, or of all files; SQLite's logs are included."""
        total = 0
        # Not by rglob: before Python 3.13 it raises where another process removes a folder since it was listed.
        for folder, _, names in os.walk(self.folder / namespace):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    continue  # removed by another process since it was listed
        return total

    def evict(self, limit: int) -> int:
        """Remove the namespaces unused longest until all files take at most `limit` bytes; return the bytes freed.

        Namespaces that this or another living process has open stay.
        """
        freed = 0
        with self.guard, self._only_process():
            self._remove_remains()
            excess = self.size() - limit
            for namespace in sorted(self.namespaces(), key=lambda name: self.about(name)[1]):
                if freed >= excess:
                    break
                if not self._is_open(namespace):
                    freed += self.size(namespace)
                    self._remove(namespace)
        return freed

    def close(self) -> None:
        """Close all files."""
        with self.guard:
            for namespace in list(self._files):
                self._close(namespace)

    @contextmanager
    def only_computing(self, namespace: str) -> Iterator[None]:
        """Let one process or thread at a time into the block, for each namespace; one that is killed leaves it."""
        self.use(namespace, lambda file: None, None, create=True)
        with self._folder_errors():
            # In the namespace's folder, which nobody removes while this process has its file open.
            lock = (self.folder / namespace / COMPUTING).open("w")
        with lock:
            if fcntl:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    report("another process computes for the same network; this one waits, and uses its results")
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _only_process(self) -> Iterator[None]:
        """Let one process at a time into the block; one that is killed leaves it at once."""
        with self._folder_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield

    @contextmanager
    def _folder_errors(self) -> Iterator[None]:
        """Raise `GraftError` where the block cannot write."""
        try:
            yield
        except OSError as error:
            remedy = "set GRAFT_STORE to a folder you can write to"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = "free some space and run again"
            raise GraftError(f"{self.folder}: cannot write to the store ({error.strerror}); {remedy}") from error

    def _path(self, namespace: str) -> Path:
        return self.folder / namespace / RECORDS

    def _is_replaced(self, file: RecordFile) -> bool:
        # While the file is open its inode's number is not given to another.
        try:
            return file.path.stat().st_ino != file.inode
        except FileNotFoundError:
            return True

    def _is_open(self, namespace: str) -> bool:
        """Say whether this or another process has the namespace's file open; to be called as the only process."""
        if namespace in self._files or not fcntl:
            return namespace in self._files
        with (self.folder / namespace / ABOUT).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _file(self, namespace: str, create: bool, renew: bool) -> RecordFile | None:
        if namespace in self._files and self._is_replaced(self._files[namespace]):
            self._close(namespace)
        if namespace not in self._files and (create or self._path(namespace).exists()):
            with self._only_process():
                self._remove_remains()
                self._open(namespace, create, renew)
        return self._files.get(namespace)

    def _open(self, namespace: str, create: bool, renew: bool) -> None:
        """Open the namespace's file, if there is one or `create` is true; a damaged one is removed."""
        if self._path(namespace).exists():
            try:
                self._open_file(namespace, renew)
            except DamagedFile as damage:
                self._report_damage(namespace, damage)
                self._remove(namespace)
            else:
                return
        if create:
            self._create(namespace)
            self._open_file(namespace, renew)

    def _open_file(self, namespace: str, renew: bool) -> None:
        about = self.folder / namespace / ABOUT
        lock = about.open("a")
        try:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_SH)
            if renew:
                os.utime(about)
            self._files[namespace] = RecordFile(self._path(namespace), namespace)
            self._locks[namespace] = lock
        except BaseException:
            lock.close()
            raise

    def _close(self, namespace: str) -> None:
        if namespace in self._files:
            self._files.pop(namespace).close()
            self._locks.pop(namespace).close()

    def _create(self, namespace: str) -> None:
        self._remove(namespace)
        new = self.folder / ".new"
        new.mkdir()
        (new / ABOUT).write_text(self.descriptions.get(namespace, ""), "utf-8")
        create_file(new / RECORDS)
        new.rename(self.folder / namespace)

    def _remove(self, namespace: str) -> None:
        self._remove_remains()
        if (self.folder / namespace).exists():
            (self.folder / namespace).rename(self.folder / ".old")
            self._remove_remains()

    def _remove_remains(self) -> None:
        """Remove what a killed process has left half made or half removed."""
        for pattern in (".new*", ".old*"):
            for path in self.folder.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    def _delete_damaged(self, namespace: str, damage: DamagedFile) -> None:
        with self._only_process():
            # If it is replaced, another process has found the damage first, and reported it.
            if not self._is_replaced(self._files[namespace]):
                self._report_damage(namespace, damage)
                self._remove(namespace)
        self._close(namespace)

    def _report_damage(self, namespace: str, damage: DamagedFile) -> None:
        report(f"{self._path(namespace)}: damaged ({damage}); deleted, its records will be computed again")
