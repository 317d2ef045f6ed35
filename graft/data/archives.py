"""Archives of images: checked, and unpacked within their folder and within bounds."""

import errno
import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from graft.core.byte_sizes import readable
from graft.core.errors import GraftError
from graft.core.files import CHUNK_BYTES, sha256_of

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
# What an archive may hold beside files, as data/raw.json and messages call it.
FOLDER, HARD_LINK, SYMBOLIC_LINK, SPECIAL_FILE = "folder", "hard link", "symbolic link", "special file"
SAME_NAME = "file replaced by a later one of its name"
# Headers of a .tar that hold a long name or more, and are read at once.
EXTENDED_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")
LONGEST_HEADER = 1 << 20
# Of Linux: bytes of a name and of a path, and how many links may lead to each other.
LONGEST_NAME, LONGEST_PATH, MOST_LINKS = 255, 4096, 40


def check_sha256(path: Path, sha256: str) -> None:
    """Raise a `GraftError` unless the file has that SHA-256."""
    found = sha256_of(path)
    if found != sha256:
        raise GraftError(f"{path.name}: its SHA-256 is {found}, but dataset_sha256 is {sha256}")


class Bounds(NamedTuple):
    """What an archive may unpack to.

    Attributes
    ----------
    size : bytes in all.
    files : the number of files, folders and links.
    """

    size: int
    files: int


class _Member(NamedTuple):
    """What an archive holds under one name: a file with its content, or one of the kinds above.

    Attributes
    ----------
    target : of a link, as the archive writes it: a hard link names a member, a symbolic link starts at its own folder.
    """

    name: str
    file: IO[bytes] | None = None
    kind: str = ""
    target: str = ""


def unpack(archive: Path, folder: Path, bounds: Bounds) -> Counter[str]:
    """Write the files and folders of a .tar, .tgz or .zip below `folder`; a link becomes a copy of its file.

    Returns
    -------
    How many members it left out, by kind: "symbolic link" and "hard link" (to no file of the archive), "special file"
    (a device, a pipe), "file replaced by a later one of its name".

    Raises
    ------
    GraftError
        If the archive is damaged, names a place outside `folder`, has a name of more than 255 bytes, or unpacks to more
        than the bounds; what was written until then stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _Unpacking(archive, folder, bounds).run()
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GraftError(f"{archive.name}: damaged, or no .tar, .tgz or .zip ({error}); get it again") from error


class _Unpacking:
    """One archive on its way into a folder, and what it has written so far."""

    def __init__(self, archive: Path, folder: Path, bounds: Bounds) -> None:
        self._archive, self._folder, self._bounds = archive, folder, bounds
        self._size, self._count = 0, 0
        self._folders = {PurePosixPath()}
        self._files: set[PurePosixPath] = set()
        self._links: dict[PurePosixPath, str] = {}
        self._left_out: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        for member in self._tar_members() if tarfile.is_tarfile(self._archive) else self._zip_members():
            self._count_entry()
            self._write(member)
        # Only now: a symbolic link may name a file that comes later.
        for name in self._links:
            target = self._file_of(name)
            if target is None or name in self._files or name in self._folders:
                self._left_out[SYMBOLIC_LINK] += 1
            else:
                self._copy(target, name)
        return +self._left_out  # without kinds counted 0 times

    def _write(self, member: _Member) -> None:
        name = relative_name(member.name)
        if member.kind == SPECIAL_FILE:
            self._left_out[SPECIAL_FILE] += 1
        elif member.kind == FOLDER and not name.parts:
            pass  # the archive's own folder
        elif is_outside(name):
            raise GraftError(f"{self._archive.name}: refused, it holds {member.name!r}, a path outside its folder")
        elif member.kind == SYMBOLIC_LINK:
            self._left_out[SAME_NAME] += name in self._links
            self._links[name] = posixpath.join(name.parent, member.target.replace("\\", "/"))
        elif member.kind == HARD_LINK:
            self._write_hard_link(name, relative_name(member.target))
        elif member.kind == FOLDER:
            self._make_folder(name)
        else:
            # A member of no kind is a file, with its content.
            with member.file as file:  # type: ignore[union-attr]
                self._write_file(name, file)

    def _write_hard_link(self, name: PurePosixPath, target: PurePosixPath) -> None:
        if target not in self._files:
            self._left_out[HARD_LINK] += 1
        elif name != target:  # tar writes a file that it was given twice as a link to itself
            self._copy(target, name)

    def _copy(self, source: PurePosixPath, name: PurePosixPath) -> None:
        with (self._folder / source).open("rb") as file:
            self._write_file(name, file)

    def _write_file(self, name: PurePosixPath, file: IO[bytes]) -> None:
        self._make_folder(name.parent)
        self._check_name(name)
        self._left_out[SAME_NAME] += name in self._files
        self._files.add(name)
        with (self._folder / name).open("wb") as output:
            while chunk := file.read(CHUNK_BYTES):
                self._count_bytes(len(chunk))
                output.write(chunk)

    def _make_folder(self, name: PurePosixPath) -> None:
        if name in self._folders:
            return
        self._make_folder(name.parent)
        self._check_name(name)
        self._count_entry()
        (self._folder / name).mkdir()
        self._folders.add(name)

    def _check_name(self, name: PurePosixPath) -> None:
        if len(os.fsencode(name.name)) > LONGEST_NAME or len(os.fsencode(self._folder / name)) >= LONGEST_PATH:
            raise GraftError(
                f"{self._archive.name}: it holds {name.name[:40]!r}..., a name of more than {LONGEST_NAME} bytes or a "
                f"path of more than {LONGEST_PATH}; pack it again with shorter names"
            )

    def _count_entry(self) -> None:
        self._count += 1
        if self._count > self._bounds.files:
            raise GraftError(
                f"{self._archive.name}: it holds more than {self._bounds.files:,} files and folders; if that is right, "
                "raise limits.files in params.yaml"
            )

    def _count_bytes(self, count: int) -> None:
        self._size += count
        if self._size > self._bounds.size:
            raise GraftError(
                f"{self._archive.name}: it unpacks to more than {readable(self._bounds.size)}; if that is right, raise "
                "limits.unpacked_size in params.yaml"
            )

    def _file_of(self, link: PurePosixPath) -> PurePosixPath | None:
        """Return the file that a symbolic link leads to, through other links too; None if it is not in the archive."""
        name = link
        for _ in range(MOST_LINKS):
            if name not in self._links:
                break
            name = PurePosixPath(posixpath.normpath(self._links[name]))
        return name if name in self._files else None

    def _tar_members(self) -> Iterator[_Member]:
        with tarfile.open(self._archive, tarinfo=Header) as tar:
            for member in tar:
                if member.isreg():
                    yield _Member(member.name, tar.extractfile(member))
                elif member.isdir():
                    yield _Member(member.name, kind=FOLDER)
                elif member.islnk() or member.issym():
                    kind = HARD_LINK if member.islnk() else SYMBOLIC_LINK
                    yield _Member(member.name, kind=kind, target=member.linkname)
                else:
                    self._count_bytes(member.size)
                    yield _Member(member.name, kind=SPECIAL_FILE)
                # tarfile keeps every header, which this does not need, in a list that its type stubs leave out.
                tar.members.clear()  # type: ignore[attr-defined]
            # The checksum of a .tgz is behind the zeros that end the archive, and is compared when it is read.
            while rest := tar.fileobj.read(CHUNK_BYTES):
                self._count_bytes(len(rest))

    def _zip_members(self) -> Iterator[_Member]:
        with zipfile.ZipFile(self._archive) as zip_file:
            for member in zip_file.infolist():
                # The upper half holds the mode of Unix, or nothing.
                mode = member.external_attr >> 16
                if stat.S_ISLNK(mode):
                    with zip_file.open(member) as file:
                        target = os.fsdecode(file.read(LONGEST_PATH))
                    yield _Member(member.filename, kind=SYMBOLIC_LINK, target=target)
                elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    yield _Member(member.filename, kind=SPECIAL_FILE)
                # Some archivers of Windows write a\\b\\ for a folder.
                elif member.filename.endswith(("/", "\\")):
                    yield _Member(member.filename, kind=FOLDER)
                else:
                    yield _Member(member.filename, zip_file.open(member))


class Header(tarfile.TarInfo):
    """The header of a file in a .tar; tarfile itself takes a damaged or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        """Return the header in a block, as tarfile asks for it; a damaged one is an error that tarfile lets pass."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):  # zeros are the end
                raise
            raise tarfile.ReadError(str(error)) from error
        if header.type in EXTENDED_HEADERS and header.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a name of {readable(header.size)}")
        return header


def relative_name(name: str) -> PurePosixPath:
    """Return the path of a member, with "/" between folders on every system."""
    return PurePosixPath(name.replace("\\", "/"))


def is_outside(path: PurePosixPath) -> bool:
    """Return whether a member's path is empty, or leads out of the folder in which it is unpacked."""
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(path).drive) or not path.parts
