"""Data sets as tar shards: what a pattern such as `shards/train-{000000..000146}.tar` stands for.

The layout is that of webdataset (github.com/webdataset/webdataset): tar files that hold images and their labels.
"""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from graft.core.errors import GraftError
from graft.core.packages import require

SUFFIX = ".tar"
# One may lie beside the shards: the name of a class on each line, the first line for index 0.
CLASS_FILES = ("classes.txt", "_classes.txt")
# What reads each scheme besides http; an extra of pyproject.toml has the name of the scheme.
PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
BRACES = re.compile(r"\{.*(,|\.\.).*\}")
RANGE = re.compile(r"(\d{1,12})\.\.(\d{1,12})", re.ASCII)
MOST_SHARDS, MOST_BRACES = 100_000, 20


def is_pattern(dataset: str) -> bool:
    """Return whether `dataset` has braces that stand for several names."""
    return bool(BRACES.search(dataset))


def is_local_pattern(dataset: str, root: Path) -> bool:
    """Return whether `dataset`, relative to `root`, is a pattern of local files, and not a name that has braces."""
    path = root / os.path.expanduser(dataset)
    # Not a method of Path: that raises an error at a name that is too long.
    return is_pattern(dataset) and not scheme_of(dataset) and not os.path.exists(path)  # noqa: PTH110


def scheme_of(dataset: str) -> str:
    """Return http, https, s3 or gs where `dataset` is such an address, else an empty string."""
    scheme, separator, _ = dataset.partition("://")
    return scheme if separator and scheme in ("http", "https", *PACKAGES) else ""


def folder_of(pattern: str) -> str:
    """Return the folder of the files of a pattern, its path or address; empty for none."""
    return pattern[: pattern.index("{")].rpartition("/")[0]


def expand(pattern: str) -> list[str]:
    """Return the paths or addresses that a pattern stands for, in the order in which bash expands braces.

    {000..146} counts, with the zeros of the longer number; {a,b} is a list; one may be inside another.

    Raises
    ------
    GraftError
        If there are too many; if one is no .tar file and no list of classes; if two have the same name; or if braces
        stand in the name of a folder.
    """
    if pattern.count("{") > MOST_BRACES:
        raise GraftError(f"dataset: {pattern[:80]} has more than {MOST_BRACES} braces; write it with fewer")
    found = list(itertools.islice(_expanded(pattern), MOST_SHARDS + 1))
    if len(found) > MOST_SHARDS:
        raise GraftError(f"dataset: {pattern} stands for more than {MOST_SHARDS:,} files; make larger shards")
    folder = folder_of(pattern)
    for path in found:
        name = name_of(path)
        if path[len(folder) :].lstrip("/").partition("?")[0] != name:
            raise GraftError(f"dataset: {pattern}: {path} is in another folder; the shards must lie in one, {folder}/")
        if not name.endswith(SUFFIX) and name not in CLASS_FILES:
            raise GraftError(
                f"dataset: {pattern}: {name!r} is no shard; a shard is a {SUFFIX} file that is not compressed (and "
                f"{CLASS_FILES[0]} may name the classes)"
            )
    name, count = Counter(map(name_of, found)).most_common(1)[0]
    if count > 1:
        raise GraftError(f"dataset: {pattern} names {name} {count} times; name each shard once")
    return found


def name_of(path: str) -> str:
    """Return the file's name in a path or an address."""
    return (path.partition("?")[0] if scheme_of(path) else path).rpartition("/")[2]


def require_package(dataset: str) -> None:
    """Check that the package that reads an address is installed, as `packages.require` does."""
    scheme = scheme_of(dataset)
    if scheme in PACKAGES:
        require(f"dataset: {dataset}", (PACKAGES[scheme],), scheme)


def require_files(pattern: str, root: Path) -> None:
    """Check that the files of a local pattern are there.

    Parameters
    ----------
    pattern : `dataset` of params.yaml, relative to `root`.

    Raises
    ------
    GraftError
        If a file is missing or they have no folder, or as for `expand`.
    """
    found = expand(pattern)
    if not folder_of(pattern):
        raise GraftError(f"dataset: {pattern}: the shards need a folder of their own, as shards/{pattern}")
    missing = [path for path in found if not (root / os.path.expanduser(path)).is_file()]
    if missing:
        raise GraftError(
            f"dataset: {pattern}: {missing[0]} is no file ({len(missing):,} of {len(found):,} are missing); write the "
            "numbers that are there"
        )


def _expanded(text: str) -> Iterator[str]:
    """Yield what a text with braces stands for; braces without a partner, a comma or two dots are text."""
    span = _outer_braces(text)
    if span is None:
        yield text
        return
    start, end = span
    for inner in _alternatives(text[start + 1 : end]):
        yield from (f"{text[:start]}{inner}{rest}" for rest in _expanded(text[end + 1 :]))


def _outer_braces(text: str) -> tuple[int, int] | None:
    """Return where the first outer braces open and close; None without a pair."""
    start, depth = text.find("{"), 0
    for place in range(max(start, 0), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if start >= 0 and depth == 0:
            return start, place
    return None


def _alternatives(inside: str) -> Iterable[str]:
    if numbers := RANGE.fullmatch(inside):
        first, last = map(int, numbers.groups())
        padded = any(text.startswith("0") and len(text) > 1 for text in numbers.groups())
        width = max(map(len, numbers.groups())) if padded else 0
        step = 1 if first <= last else -1
        return (f"{number:0{width}}" for number in range(first, last + step, step))
    items, depth = [""], 0
    for character in inside:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    if len(items) == 1:
        return (f"{{{text}}}" for text in _expanded(inside))
    return (text for item in items for text in _expanded(item))
