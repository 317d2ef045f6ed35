"""The catalog of data sets, and what `dataset` in params.yaml stands for.

It is a name, a folder, an archive, an address, or a pattern of tar shards (`shards`).
"""

import os
import reprlib
import shlex
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from graft.core.errors import GraftError, nearest
from graft.settings import shards

CATALOG = Path(__file__).with_name("datasets.yaml")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")


class File(BaseModel):
    """A file beside an archive: where it is, and the 64 hexadecimal digits of its SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    sha256: str


class Entry(BaseModel):
    """A data set: where it comes from, and what is known of its images. The user's own has the defaults.

    Attributes
    ----------
    url, sha256 : where its archive is, and the 64 hexadecimal digits that it must have; None where none are published.
        Or the pattern of its shards, and the SHA-256 of the list of them, as sha256sum prints it.
    files : other files that the layout needs.
    layout : how the archive holds its images, a key of `LAYOUTS` in graft/data/layouts.py.
    names : of the classes, in the layout's order, where the archive does not hold them.
    embedded : a data set of an installed package, instead of `url`.
    licence : under which its images may be used.
    classes, images : how many it must hold; None for any number.
    flip : the mirror images that keep their label.
    image_size : pixels on each side; None for the backbone's own size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    sha256: str | None = None
    files: tuple[File, ...] | None = None
    layout: Literal[
        "class_folders", "validation_is_test", "cifar10", "cifar100", "in_order_of_class", "labels_and_parts"
    ] = "class_folders"
    names: tuple[str, ...] | None = None
    embedded: Literal["sklearn.digits"] | None = None
    licence: str | None = None
    classes: int | None = None
    images: int | None = None
    flip: Literal["none", "horizontal", "vertical", "both"] = "horizontal"
    image_size: int | None = None


@cache
def entries() -> dict[str, Entry]:
    """Return the catalog: an entry by each name."""
    values = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
    return {name: Entry.model_validate(value) for name, value in values.items()}


def entry_or_default(dataset: str) -> Entry:
    """Return the catalog entry of that name, or an entry with the defaults for a data set of the user's."""
    return entries().get(dataset, Entry())


def is_also_folder(dataset: str, root: Path) -> bool:
    """Say whether `dataset` is a name of the catalog, which `find` takes, and also of a folder in `root`."""
    return dataset in entries() and (root / dataset).is_dir()


def is_address(dataset: str) -> bool:
    """Say whether `dataset` is an address: http, https, s3 or gs."""
    return bool(shards.scheme_of(dataset))


def dvc_file(path: Path, root: Path) -> Path | None:
    """Return the .dvc file by which DVC has a path in the repository `root`, or a folder above it; None without."""
    top, place = root.resolve(), path.resolve()
    inside = [folder for folder in (place, *place.parents) if top in folder.parents]
    return next((file for folder in inside if (file := Path(f"{folder}.dvc")).is_file()), None)


def find(dataset: str, sha256: str | None, root: Path) -> Entry | Path:
    """Return what `dataset` stands for: an entry that says where to fetch it, or the local folder or archive.

    A name of the catalog comes before a folder of that name. Local shards are their folder.

    Parameters
    ----------
    dataset : a name of the catalog, a path (relative to `root`), an http(s) address, or a pattern of shards.
    sha256 : that the archive must have, 64 hexadecimal digits; an address needs one. The catalog's own, where an entry
        has one, comes first.
    root : the repository's folder.

    Raises
    ------
    GraftError
        If it is none of these, or an address without a checksum.
    """
    if dataset in entries():
        entry = entries()[dataset]
        return entry.model_copy(update={"sha256": sha256}) if entry.url and not entry.sha256 else entry
    if is_address(dataset):
        return _of_address(dataset, sha256)
    path = root / os.path.expanduser(dataset)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise GraftError(f"dataset: {reprlib.repr(dataset)} cannot be read: {error.strerror}") from error
    if is_folder or (is_file and path.name.lower().endswith(ARCHIVE_SUFFIXES)):
        return path
    if shards.is_local_pattern(dataset, root):
        path = root / os.path.expanduser(shards.folder_of(dataset))
        if path.is_dir():
            shards.require_files(dataset, root)
            return path
    if is_file:
        raise GraftError(f"dataset: {dataset} is a file, but none of {', '.join(ARCHIVE_SUFFIXES)}")
    if pointer := dvc_file(path, root):
        pull = f"dvc pull {shlex.quote(os.path.relpath(pointer, root))}"
        raise GraftError(f"dataset: {dataset} is under DVC, but not here yet; `{pull}` fetches it")
    if os.sep in dataset:
        raise GraftError(
            f"dataset: {dataset}: no such folder or archive; if another machine has it, `graft import` it "
            "there, commit and push"
        )
    raise GraftError(
        f"dataset: {dataset} is no data set of the catalog ({nearest(dataset, entries())}) and no folder or archive"
    )


def _of_address(dataset: str, sha256: str | None) -> Entry:
    is_pattern = shards.is_pattern(dataset)
    if is_pattern:
        shards.expand(dataset)
        shards.require_package(dataset)
    elif shards.scheme_of(dataset) in shards.PACKAGES:
        raise GraftError(
            f"dataset: {dataset} has no braces; only shards are read from there: write {{000000..000146}} for their "
            "numbers, or fetch the file and give its path"
        )
    if sha256 is None:
        of = "the list of its shards (see docs/scale.md)" if is_pattern else "its archive"
        raise GraftError(f"dataset: {dataset} needs dataset_sha256 in params.yaml, the SHA-256 of {of}")
    return Entry(url=dataset, sha256=sha256)
