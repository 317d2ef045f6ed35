"""Archives of images: fetched, checked, and unpacked without ever writing outside their folder."""

import errno
import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

import pooch
import requests

from graft.core.errors import GraftError
from graft.core.files import CHUNK_BYTES, sha256_of

TIMEOUT_SECONDS = 30
# What tarfile, zipfile and the decompressors raise on damage, encryption (RuntimeError) and methods they don't know;
# gzip and bz2 raise an OSError, as does a name that is both a file and a folder.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def fetch(url: str, sha256: str | None, folder: Path) -> Path:
    """Return the file of that address in `folder`, downloaded unless it is there already.

    The file has its name only once it is whole and has the checksum; an interrupted download starts again. Without a
    checksum, whatever comes is taken.

    Raises
    ------
    GraftError
        If the address does not answer, or answers with another file.
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


def check_sha256(path: Path, sha256: str) -> None:
    """Raise a `GraftError` unless the file has that SHA-256."""
    found = sha256_of(path)
    if found != sha256:
        raise GraftError(f"{path.name}: its SHA-256 is {found}, but dataset_sha256 is {sha256}")


def unpack(archive: Path, folder: Path) -> None:
    """Write the regular files of a .tar, .tgz or .zip below `folder`; links and devices are left out.

    Raises
    ------
    GraftError
        If the archive is damaged, or names a place outside `folder`; what was written until then stays.
    """
    try:
        members = _tar_members if tarfile.is_tarfile(archive) else _zip_members
        for name, file in members(archive):
            target = folder / _safe_path(name, archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            with file, target.open("wb") as output:
                shutil.copyfileobj(file, output)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GraftError(f"{archive.name}: damaged, or no .tar, .tgz or .zip ({error}); get it again") from error


class _Header(tarfile.TarInfo):
    """The header of a file in a .tar; tarfile itself takes a damaged or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):  # zeros are the end
                raise
            raise tarfile.ReadError(str(error)) from error


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, tarinfo=_Header) as tar:
        for member in tar:
            if member.isreg():
                yield member.name, tar.extractfile(member)
        # The checksum of a .tgz is behind the zeros that end the archive, and is compared when it is read.
        while tar.fileobj.read(CHUNK_BYTES):
            pass


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as zip_file:
        for member in zip_file.infolist():
            # The upper half holds the mode of Unix.
            if not member.is_dir() and not stat.S_ISLNK(member.external_attr >> 16):
                yield member.filename, zip_file.open(member)


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(path).drive or not path.parts:
        raise GraftError(f"{archive.name}: refused, it holds {name!r}, a path outside its folder")
    return path
