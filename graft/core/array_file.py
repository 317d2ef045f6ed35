"""Rows of numbers on disk: one .npy file, or, for more rows, a folder of numbered .npy files with a manifest.

The folder has the name that the file would have. Its manifest.json says how many rows there are, and of each file its
rows and its SHA-256.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import GraftError
from graft.core.files import read_json, sha256_of, write_json
from graft.core.threads import in_order

MANIFEST = "manifest.json"
DTYPE = np.dtype(np.float32)

# Returns blocks, float32 (some rows, ...), that together are the rows of a range.
Read = Callable[[range], Iterable[np.ndarray]]


def write_array(path: Path, read: Read, shape: Sequence[int], rows_per_file: int | None = None) -> None:
    """Write rows of float32 to a file, or to a folder of files in its place.

    Parameters
    ----------
    path : of the file or folder. An existing file is replaced.
    read : returns the rows.
    shape : (rows, ...).
    rows_per_file : of a folder; the last file may have fewer. None writes one file.
    """
    if rows_per_file is None:
        _write_file(path, read(range(shape[0])), shape)
        return
    path.unlink(missing_ok=True)
    path.mkdir()
    files = []
    for number, start in enumerate(range(0, shape[0], rows_per_file)):
        rows = range(start, min(start + rows_per_file, shape[0]))
        name = f"{number:05d}.npy"
        sha256 = _write_file(path / name, read(rows), (len(rows), *shape[1:]))
        files.append({"file": name, "rows": len(rows), "sha256": sha256})
    manifest = {"rows": shape[0], "shape": list(shape[1:]), "dtype": DTYPE.str, "rows_per_file": rows_per_file}
    write_json(path / MANIFEST, manifest | {"files": files})


def _write_file(path: Path, blocks: Iterable[np.ndarray], shape: Sequence[int]) -> str:
    """Write an .npy file; return its SHA-256."""
    head = BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": DTYPE.str, "fortran_order": False, "shape": tuple(map(int, shape))}
    )
    digest = hashlib.sha256()
    # Not through a memory map: where the disk is full, the system kills a process that writes to one.
    with path.open("wb") as file:
        for content in chain([head.getvalue()], (np.asarray(block, DTYPE).tobytes() for block in blocks)):
            file.write(content)
            digest.update(content)
    return digest.hexdigest()


class ArrayFile:
    """Rows that `write_array` wrote, which are read each time that they are indexed.

    Unlike a memory map that stays open, it does not keep the pages that were read in the memory of the process.

    Parameters
    ----------
    path : of the file or folder.

    Attributes
    ----------
    shape : (rows, ...).

    Raises
    ------
    GraftError
        If it does not exist, or a file of the folder is missing or altered. All files are read for that once in a
        process, as long as they do not change.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            manifest = _manifest(path)
            self._files = [path / file["file"] for file in manifest["files"]]
            self._rows_per_file: int = manifest["rows_per_file"]
            self.shape: tuple[int, ...] = (manifest["rows"], *manifest["shape"])
            _require_whole(path.absolute(), tuple((file["file"], file["sha256"]) for file in manifest["files"]))
        elif path.is_file():
            self._files, self.shape = [path], np.load(path, mmap_mode="r").shape
            self._rows_per_file = max(1, self.shape[0])
        else:
            raise GraftError(f"{path}: no such file; `dvc repro` writes it")

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows at these indices, an int array of any shape: a new array in memory."""
        if len(self._files) == 1:
            return np.load(self._files[0], mmap_mode="r")[rows]
        flat = np.ravel(rows)
        file_of, place = np.divmod(flat, self._rows_per_file)
        used = np.unique(file_of)
        if len(used) == 1:
            return np.load(self._files[used[0]], mmap_mode="r")[place].reshape(*np.shape(rows), *self.shape[1:])
        found = np.empty((len(flat), *self.shape[1:]), DTYPE)
        for number in used:
            here = file_of == number
            found[here] = np.load(self._files[number], mmap_mode="r")[place[here]]
        return found.reshape(*np.shape(rows), *self.shape[1:])


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise _damaged(path, "missing")
    manifest = read_json(path)
    try:
        if manifest["dtype"] == DTYPE.str and manifest["rows"] == sum(file["rows"] for file in manifest["files"]):
            return manifest
    except (KeyError, TypeError):
        pass
    raise _damaged(path, "altered")


def _require_whole(folder: Path, files: tuple[tuple[str, str], ...]) -> None:
    """Check that each file is there and has its SHA-256."""
    for name, _ in files:
        if not (folder / name).is_file():
            raise _damaged(_shown(folder / name), "missing")
    now = tuple((folder / name).stat() for name, _ in files)
    _require_hashes(folder, files, tuple((one.st_size, one.st_mtime_ns, one.st_ino) for one in now))


@lru_cache(maxsize=16)
def _require_hashes(folder: Path, files: tuple[tuple[str, str], ...], _states: tuple[tuple[int, ...], ...]) -> None:
    found = in_order(sha256_of, [folder / name for name, _ in files])
    for (name, sha256), other in zip(files, found, strict=True):
        if sha256 != other:
            raise _damaged(_shown(folder / name), "altered")


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _damaged(path: Path, how: str) -> GraftError:
    return GraftError(f"{path}: {how}; `dvc checkout` brings it back, or `dvc repro extract` writes it again")
