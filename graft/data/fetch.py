"""Files from the web: downloaded once, checked, and kept in a folder."""

import errno
import gzip
import hashlib
import os
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from graft.core.byte_sizes import readable
from graft.core.errors import GraftError
from graft.core.files import CHUNK_BYTES, sha256_of
from graft.data.cloud import CloudTransfer
from graft.data.transfer import Limits, Transfer
from graft.settings import shards

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The name of a file that is not whole begins so; "tmp" is how versions up to 0.2 began it.
PARTIAL = ".part-"
EARLIER_PARTIAL = "tmp"
STALE_SECONDS = 7 * 86_400
LONGEST_NAME = 100
WEB_PAGE = (b"<!doctype html", b"<html")


def fetch(url: str, sha256: str | None, folder: Path, limits: Limits) -> Path:
    """Return the file of that address in `folder`, downloaded unless it is there already.

    The file gets its name only when it is whole and has the checksum. A download that breaks off is tried again, and
    goes on where it stopped if the server offers that, also in a later call. Parts of files that nobody went on with
    for a week are deleted. One process at a time downloads to a folder.

    Parameters
    ----------
    url : http or https; s3 or gs with the package of that store.
    sha256 : 64 hexadecimal digits; None accepts any file but a web page.

    Raises
    ------
    GraftError
        If the address does not answer, the file is another one, or the download needs more than `limits`.
    """
    identity = sha256 or hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    name = PurePosixPath(url.split("?", 1)[0].split("#", 1)[0]).name
    path = folder / f"{identity[:16]}-{name[-LONGEST_NAME:]}"
    try:
        with _locked(folder):
            _sweep(folder)
            if not path.is_file() or (sha256 and sha256_of(path) != sha256):
                partial = folder / f"{PARTIAL}{path.name}"
                transfer = CloudTransfer if shards.scheme_of(url) in shards.PACKAGES else Transfer
                _download(transfer(url, partial, limits), sha256, limits.size)
                os.replace(partial, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GraftError(f"{folder}: the disk is full; free some space and run again") from error
        raise GraftError(f"{error.filename or folder}: cannot be read or written ({error.strerror})") from error
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if handle is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{folder}: waiting for another process that downloads to it", file=sys.stderr)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        begun = path.name.startswith((PARTIAL, EARLIER_PARTIAL)) and path.is_file()
        if begun and path.stat().st_mtime < time.time() - STALE_SECONDS:
            path.unlink()


def _download(transfer: Transfer | CloudTransfer, sha256: str | None, size: int) -> None:
    """Bring the whole file and check it; start again if it went on from an earlier part and is not the right one."""
    went_on = transfer.validator.exists()
    try:
        transfer.run()
        fault = _decode(transfer, sha256, size) or _fault_of(transfer.partial, sha256)
        if not fault:
            transfer.validator.unlink(missing_ok=True)
            return
    except BaseException:
        # Without it, nobody can say whether the server still has the same file.
        if not transfer.validator.exists():
            transfer.clear()
        raise
    transfer.clear()
    if not went_on:
        raise GraftError(f"{transfer.url}: not the expected file: {fault}")
    _download(transfer, sha256, size)


def _decode(transfer: Transfer | CloudTransfer, sha256: str | None, size: int) -> str:
    """Undo the compression that the server added on the way, if it did; return what is wrong, or an empty string.

    Servers also give Content-Encoding to a .tgz as it is: what has the checksum, or the name of a compressed file, is
    left alone.
    """
    as_it_is = PurePosixPath(urlsplit(transfer.url).path).suffix in (".gz", ".tgz")
    if transfer.encoding in ("", "identity") or (sha256_of(transfer.partial) == sha256 if sha256 else as_it_is):
        return ""
    if transfer.encoding not in ("gzip", "x-gzip"):
        return f"it comes with Content-Encoding {transfer.encoding[:40]}, which was not asked for"
    decoded = transfer.partial.with_name(f"{transfer.partial.name}.decoded")
    try:
        with gzip.open(transfer.partial) as source, decoded.open("wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                if target.tell() + len(chunk) > size:
                    return (
                        f"unpacked from Content-Encoding gzip, it has more than limits.download_size, {readable(size)}"
                    )
                target.write(chunk)
        os.replace(decoded, transfer.partial)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"it comes with Content-Encoding gzip, but is none ({error})"
    finally:
        decoded.unlink(missing_ok=True)
    return ""


def _fault_of(path: Path, sha256: str | None) -> str:
    with path.open("rb") as file:
        head = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(WEB_PAGE):
        return "it is a web page, maybe to log in; get the file with a browser, and give its path as dataset"
    if sha256 and (found := sha256_of(path)) != sha256:
        return f"its SHA-256 is {found}, not {sha256}"
    return ""
