"""From data/source to a folder of images: a folder as it is, an archive unpacked, a catalog entry fetched."""

import json
from pathlib import Path, PurePosixPath

from graft.core.files import sha256_of
from graft.core.paths import cache_folder
from graft.data import archives, embedded, layouts
from graft.settings.datasets import Entry


def entry_of(source: Path) -> Entry:
    """Return the catalog entry that data/source holds; one without fields where it is a link to the user's own images."""
    if source.is_symlink():
        return Entry()
    return Entry.model_validate(json.loads(source.read_text(encoding="utf-8")))


def unpacked(source: Path, sha256: str | None, folder: Path) -> Path:
    """Return a folder with the images of `source`: itself, or `folder` with its content written there."""
    if source.is_dir():
        return source
    if source.is_symlink():
        archive = source.resolve()
        if sha256:
            archives.check_sha256(archive, sha256)
        archives.unpack(archive, folder)
        return folder
    entry = entry_of(source)
    if entry.embedded:
        embedded.write(entry.embedded, folder)
        return folder
    return _fetched(entry, folder)


def _fetched(entry: Entry, folder: Path) -> Path:
    """Return the folder with the images of a catalog entry or an address: `folder`, or one beside it."""
    cache = cache_folder() / "downloads"
    archive = archives.fetch(entry.url, entry.sha256, cache)
    if not entry.sha256:
        print(f"{entry.url}: no checksum is published; dataset_sha256: {sha256_of(archive)} would insist on this file")
    files = {PurePosixPath(file.url).name: archives.fetch(file.url, file.sha256, cache) for file in entry.files or ()}
    archives.unpack(archive, folder)
    return layouts.arranged(entry, folder, folder.with_name("arranged"), files)
