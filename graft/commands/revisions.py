"""Reads files of other revisions from git: of commits, branches, tags and DVC experiments."""

import json
import subprocess
from pathlib import Path

from graft.core.errors import GraftError


def git(*arguments: str) -> subprocess.CompletedProcess:
    """Return the outcome of a git command, its output as bytes, whatever its exit status."""
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def references() -> list[str]:
    """Return the git references of all experiments, under which DVC keeps them: refs/exps/.../NAME."""
    return git("for-each-ref", "--format=%(refname)", "refs/exps").stdout.decode().split()


def commit_of(revision: str) -> str:
    """Return a revision that git understands: an experiment's reference if it is the name of one."""
    names = {reference.rsplit("/", 1)[-1]: reference for reference in references()}
    return names.get(revision, revision)


def file_at(revision: str, path: Path) -> bytes:
    """Return the content of a file at a commit, branch, tag or experiment.

    Raises
    ------
    GraftError
        If there is no such revision, or no such file at it.
    """
    # "./" stands for this folder, which need not be the top of the git repository.
    result = git("show", f"{commit_of(revision)}:./{path.as_posix()}")
    if result.returncode:
        raise GraftError(f"{path} at {revision}: {result.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    return result.stdout


def json_at(revision: str, path: Path) -> dict:
    """Return the content of a JSON file that the pipeline wrote, at a commit, branch, tag or experiment."""
    return json.loads(file_at(revision, path))
