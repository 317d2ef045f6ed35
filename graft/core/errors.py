"""The error that a user can correct, and how a script ends with it."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path

# What helps against the faults of the file system that a user meets, by their number.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.EACCES: "give yourself the permission, or use another folder",
    errno.EPERM: "give yourself the permission, or use another folder",
    errno.EROFS: "use a folder that can be written to",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EIO: "check the disk or the connection to it",
    errno.ENOENT: "check the name; `dvc repro` writes what is missing of the pipeline",
    **dict.fromkeys(FULL_DISK, "free some space and run again"),
}
LONGEST_NAME = 100


class GraftError(Exception):
    """A fault that the user can correct.

    Its message is one line: the file, key or address, what was found, and what is right.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as "did you mean 'digits'?", or the list of all known names. Case does not matter."""
    known = sorted(known)
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(by_lower_case[match]) for match in close) + "?"
    return "known: " + ", ".join(known)


def one_line(text: object) -> str:
    """Return a text with line ends and all else that cannot be printed escaped, as in names of files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def run(main: Callable[[], int | None], keeps_outputs: bool = False) -> None:
    """Run a script's `main` and exit with its status; a fault of the user's is one line on stderr, status 1.

    Parameters
    ----------
    main : returns the exit status; None stands for 0.
    keeps_outputs : whether this is a stage whose outputs DVC does not delete before it runs (`persist` in dvc.yaml).
    """
    way_back = "" if keeps_outputs else _way_back()
    _raise_interrupts()
    # A file name that the terminal has no characters for is no reason to fail.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main()
        sys.stdout.flush()
    except GraftError as error:
        sys.exit(f"error: {one_line(error)}{way_back}")
    except BrokenPipeError:
        # The reader, `head` say, has seen enough. Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, RuntimeError) as error:
        found = _of_a_link(error) if isinstance(error, RuntimeError) else error
        if found is None or found.errno is None or (found.filename is None and found.errno not in FULL_DISK):
            # The file is not known, or it is no fault of the file system.
            raise
        sys.exit(f"error: {file_fault(found)}{way_back}")
    except KeyboardInterrupt:
        # Another one ends the process at once, where it waits for threads.
        end_at_interrupts()
        sys.exit(130)
    sys.exit(status)


def _of_a_link(error: RuntimeError) -> OSError | None:
    """Return the fault of the file system where pathlib, before Python 3.13, met links that lead to each other."""
    found = error.__context__
    return found if isinstance(found, OSError) and found.errno == errno.ELOOP else None


def file_fault(error: OSError) -> str:
    """Return one line about a fault of the file system: the file, what happened, and what to do."""
    # Where a copy fails, the first name is that of the original.
    file = error.filename2 if error.errno in FULL_DISK and error.filename2 is not None else error.filename
    name = "writing" if file is None else os.fsdecode(file)
    if len(name) > LONGEST_NAME:
        name = f"...{name[-LONGEST_NAME:]}"
    reason = "the disk is full" if error.errno in FULL_DISK else (error.strerror or "an error").lower()
    return f"{name}: {reason}; {REMEDIES.get(error.errno or 0, 'check this file')}"


def end_at_interrupts() -> None:
    """Let Ctrl+C end the process at once and without a word, from now until `run` starts.

    For the time of imports: nothing is half written then, and libraries would print what interrupts them.
    """
    # Not where a parent process has set that interrupts are ignored, and only the main thread may.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and _in_main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _raise_interrupts() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL and _in_main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _way_back() -> str:
    """Return what to type next where DVC has deleted the stage's last outputs, as it does before it runs a stage."""
    # In a temporary experiment it deletes those of a clone, and DVC_ROOT is not the current folder.
    if "DVC_STAGE" in os.environ and Path(os.environ["DVC_ROOT"]).resolve() == Path.cwd():
        return "; then run `dvc repro`, or go back to the last commit by `make restore`"
    return ""
