"""Files from the web: downloaded once, checked, and kept in a folder."""

import hashlib
from pathlib import Path, PurePosixPath

import pooch
import requests

from graft.core.errors import GraftError

TIMEOUT_SECONDS = 30


def fetch(url: str, sha256: str | None, folder: Path) -> Path:
    """Return the file of that address in `folder`, downloaded unless it is there already.

    The file gets its name only when it is whole and has the checksum; an interrupted download starts again. Without a
    checksum, any file is taken.

    Raises
    ------
    GraftError
        If the address does not answer, or the file is another one.
    """
    identity = sha256 or hashlib.sha256(url.encode()).hexdigest()
    name = f"{identity[:16]}-{PurePosixPath(url.split('?')[0]).name}"
    known_hash = f"sha256:{sha256}" if sha256 else None
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_SECONDS)
    try:
        return Path(pooch.retrieve(url, known_hash, fname=name, path=folder, downloader=downloader))
    except requests.RequestException as error:
        raise GraftError(f"{url}: cannot be fetched ({_reason(error)}); check the address and the network") from error
    except ValueError as error:
        # pooch names both checksums; its own text is several lines long.
        raise GraftError(f"{url}: not the expected file: {' '.join(str(error).split())}") from error


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return type(error).__name__
