"""Archives of images: fetched, checked, and unpacked without ever writing outside their folder."""

import errno
import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

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


def check_sha256(path: Path, sha256: str) -> None:
    """Raise a `GraftError` unless the file has that SHA-256."""
    found = sha256_of(path)
    if found != sha256:
        raise GraftError(f"{path.name}: its SHA-256 is {found}, but dataset_sha256 is {sha256}")


class _Member(NamedTuple):
    """What an archive holds under one name: one of the other fields says what.

    Attributes
    ----------
    file : the content of a file.
    target : of a hard link: the name of the member, earlier in the archive, that has the content.
    left_out : the kind of a member that is not unpacked.
    """

    name: str
    file: IO[bytes] | None = None
    target: str = ""
    left_out: str = ""


def unpack(archive: Path, folder: Path) -> Counter[str]:
    """Write the files of a .tar, .tgz or .zip below `folder`; a hard link becomes a copy of the file that it names.

    Returns
    -------
    How many members it left out, by kind: "symbolic link", "hard link" (to no file of the archive), "special file"
    (a device, a pipe).

    Raises
    ------
    GraftError
        If the archive is damaged, or names a place outside `folder`; what was written until then stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        members = _tar_members if tarfile.is_tarfile(archive) else _zip_members
        kinds = (_write(member, folder, archive) for member in members(archive))
        return Counter(kind for kind in kinds if kind)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GraftError(f"{archive.name}: damaged, or no .tar, .tgz or .zip ({error}); get it again") from error


def _write(member: _Member, folder: Path, archive: Path) -> str:
    """Write a member below `folder`; return its kind if it is left out, else an empty string."""
    if member.left_out:
        return member.left_out
    if _is_outside(_relative(member.name)):
        raise GraftError(f"{archive.name}: refused, it holds {member.name!r}, a path outside its folder")
    content = _relative(member.target)
    if not member.file and (_is_outside(content) or not (folder / content).is_file()):
        return "hard link"
    path = folder / _relative(member.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.file:
        with member.file as file, path.open("wb") as output:
            shutil.copyfileobj(file, output)
    elif folder / content != path:  # tar writes a file that it was given twice as a link to itself
        shutil.copyfile(folder / content, path)
    return ""


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


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, tarinfo=_Header) as tar:
        for member in tar:
            if member.isreg():
                yield _Member(member.name, tar.extractfile(member))
            elif member.islnk():
                yield _Member(member.name, target=member.linkname)
            elif not member.isdir():
                yield _Member(member.name, left_out="symbolic link" if member.issym() else "special file")
        # The checksum of a .tgz is behind the zeros that end the archive, and is compared when it is read.
        while tar.fileobj.read(CHUNK_BYTES):
            pass


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as zip_file:
        for member in zip_file.infolist():
            # The upper half holds the mode of Unix, or nothing.
            mode = member.external_attr >> 16
            if stat.S_ISLNK(mode):
                yield _Member(member.filename, left_out="symbolic link")
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield _Member(member.filename, left_out="special file")
            elif not member.is_dir():
                yield _Member(member.filename, zip_file.open(member))


def _relative(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _is_outside(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(path).drive) or not path.parts
