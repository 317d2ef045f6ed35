"""The error that a user can correct, and how a script ends with it."""

import errno
import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path


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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: {error.filename or 'writing'}: the disk is full; free some space and run again{way_back}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status)


def _way_back() -> str:
    """Return how the last results come back where DVC has deleted them, which it does before it runs a stage."""
    # In a temporary experiment it deletes those of a clone, and DVC_ROOT is not the current folder.
    if "DVC_STAGE" in os.environ and Path(os.environ["DVC_ROOT"]).resolve() == Path.cwd():
        return "; `dvc checkout` and `git checkout metrics` bring the last results back"
    return ""
