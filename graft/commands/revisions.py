"""Reads files of other revisions from git: of commits, branches, tags and DVC experiments."""

import json
import subprocess
from pathlib import Path
from typing import Any

from graft.core.errors import GraftError
from graft.core.files import joined_tables

NO_REPOSITORY = "not a git repository"
NEW_REPOSITORY = "run `git init && git add . && git commit -m start`"


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Return the outcome of a git command, its output as bytes, whatever its exit status."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise GraftError("git: no such program; install it") from error


def require_commit() -> None:
    """Check that git can read this repository and that it has a commit: experiments are kept beside commits.

    Raises
    ------
    GraftError
        If not, with git's own reason.
    """
    found = git("rev-parse", "--verify", "HEAD^{commit}")
    if found.returncode:
        reason = _reason(found)
        if NO_REPOSITORY in reason:
            raise GraftError(f"{Path.cwd()}: {reason}; clone the project with git, or {NEW_REPOSITORY}")
        if "dubious ownership" in reason:
            raise GraftError(reason)
        raise GraftError(f"{Path.cwd()}: git has no commit here ({reason}); {NEW_REPOSITORY}")


def _reason(failed: subprocess.CompletedProcess[bytes]) -> str:
    """Return all that git says about a failure, in one line: the last lines can be its remedy for the first."""
    return (
        " ".join(failed.stderr.decode(errors="replace").split()).removesuffix(".")
        or f"git says nothing, status {failed.returncode}"
    )


def commit_at(revision: str) -> str | None:
    """Return the commit at a revision that git understands, 40 hexadecimal digits; None if there is none."""
    found = git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return None if found.returncode else found.stdout.decode().strip()


def experiment(name: str) -> str:
    """Return the git reference of an experiment on the current commit, whether it is there or not."""
    head = commit_at("HEAD") or ""
    return f"refs/exps/{head[:2]}/{head[2:]}/{name}"


def resolve(revision: str) -> str:
    """Return a revision that git understands: for the name of an experiment, the newest one's reference."""
    listing = git("for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps").stdout.decode()
    return {reference.rsplit("/", 1)[-1]: reference for reference in listing.split()}.get(revision, revision)


def file_at(revision: str, path: Path) -> bytes:
    """Return the content of a file at a commit, branch, tag or experiment.

    Raises
    ------
    GraftError
        If there is no such revision, or no such file at it.
    """
    if not revision or revision.startswith("-"):
        # For git the first is the index, and the second an option.
        raise GraftError(f"{path} at {revision!r}: no revision; give a commit, branch, tag or experiment")
    # "./" stands for this folder, which need not be the top of the git repository.
    result = git("show", f"{resolve(revision)}:./{path.as_posix()}")
    if result.returncode:
        reason = _reason(result)
        if commit_at(resolve(revision)):
            raise GraftError(f"{path} at {revision}: this commit has no such file")
        remedy = "; only a clone made by git has other revisions" if NO_REPOSITORY in reason else ""
        raise GraftError(f"{path} at {revision}: {reason}{remedy}")
    return result.stdout


def table_at(revision: str, path: Path) -> bytes:
    """Return a CSV file at a revision, as `file_at` does; the files of a folder of that name as one file."""
    listing = git("ls-tree", "--name-only", f"{resolve(revision)}:./{path.as_posix()}")
    if not revision or revision.startswith("-") or listing.returncode:
        return file_at(revision, path)
    return joined_tables([file_at(revision, path / name) for name in sorted(listing.stdout.decode().split())])


def json_at(revision: str, path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that the pipeline wrote, at a commit, branch, tag or experiment."""
    return json.loads(file_at(revision, path))


def output_at(revision: str, path: Path) -> str:
    """Return the text of a file that a stage wrote and that is in DVC's cache, not in git."""
    # Here alone, because it takes longer to import than the rest together.
    from dvc import api

    # With a revision, the path starts at the top of the git repository.
    here = git("rev-parse", "--show-prefix").stdout.decode().strip()
    return api.read(f"{here}{path.as_posix()}", rev=resolve(revision))
