"""A folder of record files, one for each namespace, which several processes use and rebuild at once."""

import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from graft.activations.record_file import DamagedFile, RecordFile, create_file
from graft.core.errors import GraftError

try:
    import fcntl
except ImportError:  # Windows: two processes that rebuild the same damaged file may then do it twice
    fcntl = None

FILE_NAME = "records.sqlite"
ATTEMPTS = 3

Answer = TypeVar("Answer")


def say(message: str) -> None:
    """Print one line about the store on stderr."""
    print(f"store: {message}", file=sys.stderr, flush=True)


class RecordFolder:
    """The record files below `folder`; `guard` lets one thread at a time use them.

    A namespace's file, with SQLite's log beside it, has a folder of its own: it appears and vanishes by one
    rename, so that nobody ever meets half a file, or a new file with an old log. A process that still has a
    vanished file open notices by its inode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guard = threading.RLock()
        self.descriptions: dict[str, str] = {}
        self._files: dict[str, RecordFile] = {}

    def use(
        self, namespace: str, action: Callable[[RecordFile], Answer], missing: Answer, create: bool = False
    ) -> Answer:
        """Return `action` of the namespace's file, or `missing` if there is none; delete the file if damaged.

        Raises
        ------
        GraftError
            If the disk is full, the folder cannot be written, or the file is damaged again and again.
        """
        with self.guard, self._translated():
            for _ in range(ATTEMPTS):
                file = self._file(namespace, create)
                if file is None:
                    return missing
                try:
                    answer = action(file)
                except DamagedFile as damage:
                    self._delete_damaged(namespace, damage)
                except GraftError:
                    # SQLite calls a file read-only that another process has replaced meanwhile.
                    if not self._vanished(file):
                        raise
                else:
                    # What was done to a file that another process has replaced meanwhile is lost.
                    if not self._vanished(file):
                        return answer
        raise GraftError(f"{self._path(namespace)}: damaged again after it was rebuilt; check the disk")

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces, sorted."""
        names = (path.parent.name for path in self.folder.glob(f"*/{FILE_NAME}"))
        return sorted(name for name in names if not name.startswith("."))

    def size(self) -> int:
        """Return the bytes of all files, SQLite's logs included."""
        total = 0
        # Not by rglob: before Python 3.13 it raises where another process removes a folder since it was listed.
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    continue  # removed by another process since it was listed
        return total

    def remove(self, namespace: str) -> None:
        """Remove a namespace with all its records."""
        with self.only_process():
            self._discard(namespace)

    def fold_logs(self) -> None:
        """Move the logs of the open files into them, so that their size says what they hold."""
        for namespace in list(self._files):
            self.use(namespace, RecordFile.fold_log, None)

    @contextmanager
    def closing_others(self) -> Iterator[None]:
        """Close at the end of the block the files that were not open at its beginning."""
        before = set(self._files)
        try:
            yield
        finally:
            for namespace in self._files.keys() - before:
                self._files.pop(namespace).close()

    def close(self) -> None:
        """Close all files."""
        with self.guard:
            while self._files:
                self._files.popitem()[1].close()

    @contextmanager
    def only_process(self, name: str = "lock") -> Iterator[None]:
        """Let one process at a time into the block; a killed process leaves it at once.

        Raises
        ------
        GraftError
            If the folder cannot be written, in or before the block.
        """
        with self._translated():
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f".{name}").open("w") as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "set GRAFT_STORE to a folder you may write in"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = "free some space and run again"
            message = f"{self.folder}: the store cannot be written ({error.strerror}); {remedy}"
            raise GraftError(message) from error

    def _path(self, namespace: str) -> Path:
        return self.folder / namespace / FILE_NAME

    def _vanished(self, file: RecordFile) -> bool:
        # While the file is open its inode's number is not given to another.
        try:
            return file.path.stat().st_ino != file.inode
        except FileNotFoundError:
            return True

    def _file(self, namespace: str, create: bool) -> RecordFile | None:
        if namespace in self._files and self._vanished(self._files[namespace]):
            self._files.pop(namespace).close()
        if namespace not in self._files:
            if not create and not self._path(namespace).exists():
                return None
            with self.only_process():
                file = self._opened(namespace, create)
            if file is None:
                return None
            self._files[namespace] = file
        return self._files[namespace]

    def _opened(self, namespace: str, create: bool) -> RecordFile | None:
        path = self._path(namespace)
        if path.exists():
            try:
                return RecordFile(path, namespace)
            except DamagedFile as damage:
                self._report(namespace, damage)
                self._discard(namespace)
        if not create:
            return None
        self._create(namespace)
        return RecordFile(path, namespace)

    def _create(self, namespace: str) -> None:
        self._sweep()
        new = self.folder / f".new-{os.getpid()}"
        new.mkdir()
        try:
            create_file(new / FILE_NAME, self.descriptions.get(namespace, ""))
            self._discard(namespace)
            new.rename(self.folder / namespace)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _discard(self, namespace: str) -> None:
        self._sweep()
        old = self.folder / f".old-{os.getpid()}"
        if (self.folder / namespace).exists():
            (self.folder / namespace).rename(old)
            shutil.rmtree(old, ignore_errors=True)

    def _sweep(self) -> None:
        # Whoever made these held the lock that is ours now, and was killed.
        for pattern in (".new-*", ".old-*"):
            for path in self.folder.glob(pattern):
                if path.name != f".new-{os.getpid()}":
                    shutil.rmtree(path, ignore_errors=True)

    def _delete_damaged(self, namespace: str, damage: DamagedFile) -> None:
        with self.only_process():
            # If it has vanished, another process was first, and has said so.
            if not self._vanished(self._files[namespace]):
                self._report(namespace, damage)
                self._discard(namespace)
        self._files.pop(namespace).close()

    def _report(self, namespace: str, damage: DamagedFile) -> None:
        say(f"{self._path(namespace)}: damaged ({damage}); deleted, its records will be computed again")
