"""graft mend: repair the two files that DVC leaves half written when it is killed or the disk is full.

DVC 3 writes dvc.lock and .dvc/tmp/rwlock in place, and has no option to do otherwise. `make repro`, `graft crossval`
and `graft study` call this before DVC starts. The command also says what to fetch where the data set is not here, and
what to remove from its folder where DVC would wait for ever.
"""

import fcntl
import json
import os
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from graft.commands import revisions
from graft.core.errors import GraftError
from graft.core.files import remove_leftovers, write_bytes
from graft.core.paths import OUTPUTS, PARAMETERS, SOURCE, repository
from graft.data.folders import check_links
from graft.settings import datasets, params

EXAMPLE = "graft mend"
LOCK = Path("dvc.lock")
TEMPORARY = Path(".dvc/tmp")
# Which process reads or writes which path. DVC locks the second file while it changes the first.
USERS, USERS_GUARD = TEMPORARY / "rwlock", TEMPORARY / "rwlock.lock"
# DVC locks it for the whole of a command, except while a stage's own script runs.
COMMAND_GUARD = TEMPORARY / "lock"
WAIT_SECONDS = 5
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft mend`: it has none."""


def main(arguments: Namespace) -> None:
    """Repair both files in the repository, and remove what a stage that was killed has left half written.

    Raises
    ------
    GraftError
        If `require_images`, `require_readable` or `mend` does.
    """
    mend(repository())
    for folder in OUTPUTS:
        remove_leftovers(repository() / folder)
    require_images(repository())
    require_readable(repository())


def require_images(folder: Path) -> None:
    """Delete data/source where it is a link that leads nowhere, unless it is that of the chosen data set.

    DVC fails at such a link before any stage can say what to do, as in a clone before `dvc pull`.

    Parameters
    ----------
    folder : of the repository.

    Raises
    ------
    GraftError
        If the chosen data set is not here.
    """
    link = folder / SOURCE
    if not link.is_symlink() or link.exists():
        return
    parameters = params.load(folder / PARAMETERS)
    datasets.find(parameters.dataset, parameters.dataset_sha256, folder)
    link.unlink()
    print(f"{SOURCE}: a link that leads nowhere, deleted; `resolve` writes it anew", flush=True)


def require_readable(folder: Path) -> None:
    """Check that DVC can read all that is in the data set's folder: it would wait for ever at a pipe.

    `resolve` checks it too, but DVC reads the folder again before it runs the first stage.

    Parameters
    ----------
    folder : of the repository.

    Raises
    ------
    GraftError
        As `check_links` does.
    """
    if (folder / SOURCE).is_dir():
        check_links(folder / SOURCE, str(SOURCE))


def mend(folder: Path) -> None:
    """Repair dvc.lock and .dvc/tmp/rwlock in a repository; print a line for each that was damaged.

    Parameters
    ----------
    folder : of the repository, with the folder .dvc; without that folder there is nothing to do.

    Raises
    ------
    GraftError
        If one is damaged, but DVC runs in this repository and may be using it.
    """
    if not (folder / ".dvc").is_dir():
        return
    for name, is_whole, repair in ((USERS, is_users_file, _mend_users), (LOCK, is_lock_file, _mend_lock)):
        if is_whole(folder / name):
            continue
        with _without_dvc(folder, name):
            # DVC may have been writing it a moment ago.
            if not is_whole(folder / name):
                print(f"{name}: damaged, {repair(folder)}", flush=True)


def is_users_file(path: Path) -> bool:
    """Return whether .dvc/tmp/rwlock is missing, or whole and of use.

    It is of no use if it names a process that started after the file was written: the process of that number was
    killed, and DVC takes the new one for it and refuses to run.
    """
    try:
        users, written = json.loads(path.read_bytes()), path.stat().st_mtime
        readers = [user for users_of_path in users.get("read", {}).values() for user in users_of_path]
        numbers = {user["pid"] for user in (*readers, *users.get("write", {}).values())}
    except FileNotFoundError:
        return True
    except (ValueError, AttributeError, KeyError, TypeError):
        return False
    return not any(_started_after(written, number) for number in numbers)


def _started_after(moment: float, number: int) -> bool:
    """Return whether a process of that number runs that started a second or more after a moment."""
    import psutil

    try:
        return psutil.Process(number).create_time() > moment + 1
    except psutil.Error:
        return False


def is_lock_file(path: Path) -> bool:
    """Return whether dvc.lock is missing or whole."""
    try:
        return is_lock(path.read_bytes())
    except FileNotFoundError:
        return True


def is_lock(content: bytes) -> bool:
    """Return whether this content of dvc.lock is whole: YAML with the keys that DVC needs and no hash that is cut."""
    # DVC ends the file with a line end.
    if not content.endswith(b"\n"):
        return False
    try:
        lock = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stages = lock["stages"].values()
        entries = [entry for stage in stages for key in ("deps", "outs") for entry in stage.get(key, [])]
        return (
            lock["schema"] == "2.0"
            and all(isinstance(stage["cmd"], str | list) for stage in stages)
            and all(isinstance(entry["path"], str) for entry in entries)
            and all(MD5.fullmatch(entry["md5"]) for entry in entries if "md5" in entry)
        )
    except (yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError):
        return False


def _mend_users(folder: Path) -> str:
    (folder / USERS).unlink()
    return "deleted; DVC was killed, and writes it anew"


def _mend_lock(folder: Path) -> str:
    committed = revisions.git("-C", str(folder), "show", f"HEAD:./{LOCK}")
    if committed.returncode == 0 and is_lock(committed.stdout):
        write_bytes(folder / LOCK, committed.stdout)
        source = "taken from the last commit"
    else:
        (folder / LOCK).unlink()
        source = "deleted, for git has none that is whole"
    return f"{source}; `dvc repro` brings back from its run cache what ran since"


@contextmanager
def _without_dvc(folder: Path, name: Path) -> Iterator[None]:
    """Run the block while no command of DVC runs in the repository, and none can start.

    Raises
    ------
    GraftError
        If one runs and does not end within some seconds.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    (folder / TEMPORARY).mkdir(parents=True, exist_ok=True)
    descriptors = [os.open(folder / guard, os.O_RDWR | os.O_CREAT, 0o666) for guard in (COMMAND_GUARD, USERS_GUARD)]
    try:
        for descriptor in descriptors:
            while not _is_locked(descriptor):
                if time.monotonic() > deadline:
                    raise GraftError(f"{name}: damaged, or in use: DVC runs here; run again when it has ended")
                time.sleep(0.1)
        if numbers := dvc_processes(folder):
            raise GraftError(
                f"{name}: damaged, or in use: DVC runs here as process {numbers[0]}; run again when it has ended"
            )
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def dvc_processes(folder: Path) -> list[int]:
    """Return the numbers of the processes that run DVC in a folder or below it."""
    import psutil

    found, top = [], folder.resolve()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command, current = process.info["cmdline"] or [], process.info["cwd"]
        # `dvc ...`, `python .../bin/dvc ...` or `python -m dvc ...`
        if current and Path(current).is_relative_to(top) and "dvc" in [Path(part).name for part in command[:3]]:
            found.append(process.pid)
    return found
