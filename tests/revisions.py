"""Git revisions in the current folder, for tests of what is read from them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from graft.core.files import write_text

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]


def git(*arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], check=True, capture_output=True)


def start() -> None:
    """Make the current folder a repository with the branch main."""
    git("init", "-q", "-b", "main")


def commit(tag: str, files: Mapping[str | Path, str]) -> None:
    """Write files of these texts, commit all that the folder holds, and tag the commit."""
    for path, text in files.items():
        write_text(path, text)
    git("add", "-f", ".")
    git("commit", "-q", "--allow-empty", "-m", tag)
    git("tag", tag)
