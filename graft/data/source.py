"""From data/source to a folder of images: a folder as it is, an archive unpacked, a catalog entry fetched."""

import json
from collections import Counter
from pathlib import Path, PurePosixPath

from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.core.paths import cache_folder
from graft.data import archives, embedded, layouts
from graft.data.fetch import fetch
from graft.data.transfer import Limits
from graft.settings.datasets import Entry
from graft.settings.resolved import is_local


def read_entry(source: Path) -> Entry:
    """Return the catalog entry in data/source; where that is a link to the user's own images, one with the defaults."""
    if is_local(source):
        return Entry()
    return Entry.model_validate(json.loads(source.read_text(encoding="utf-8")))


def image_folder(
    source: Path, sha256: str | None, folder: Path, bounds: archives.Bounds, limits: Limits
) -> tuple[Path, Counter[str]]:
    """Return a folder with the images of data/source: a local folder itself, else one with the content written there.

    Parameters
    ----------
    source : data/source.
    sha256 : that a local archive must have, 64 hexadecimal digits; None for any.
    folder : does not exist yet; for the content, and the name beside it for its images in class folders.
    bounds : of what an archive may unpack to.
    limits : of each download.

    Returns
    -------
    The folder, and how many links, special files and files of the same name an archive held that are left out, by kind.

    Raises
    ------
    GraftError
        If an archive cannot be fetched, is damaged, is not the one expected, or exceeds the bounds.
    """
    if source.is_dir():
        return source, Counter()
    if is_local(source):
        archive = source.resolve()
        if sha256:
            archives.check_sha256(archive, sha256)
        return folder, archives.unpack(archive, folder, bounds)
    entry = read_entry(source)
    if entry.embedded:
        embedded.write(entry.embedded, folder)
        return folder, Counter()
    if entry.url is None:
        raise GraftError(f"{source}: it names no address and no data set; `dvc repro` writes the file again")
    return _fetch(entry.url, entry, folder, bounds, limits)


def _fetch(url: str, entry: Entry, folder: Path, bounds: archives.Bounds, limits: Limits) -> tuple[Path, Counter[str]]:
    cache = cache_folder() / "downloads"
    archive = fetch(url, entry.sha256, cache, limits)
    if not entry.sha256:
        print(f"{url}: no checksum is published; to accept this file only, dataset_sha256: {sha256_of(archive)}")
    files = {PurePosixPath(file.url).name: fetch(file.url, file.sha256, cache, limits) for file in entry.files or ()}
    left_out = archives.unpack(archive, folder, bounds)
    return layouts.arrange(entry, folder, folder.with_name("arranged"), files), left_out
