"""A script that reads a whole HDF5 file, to be run in a process of its own: a damaged file can hang or crash HDF5.

    python -I hdf5_check.py FILE

FILE is an HDF5 file or a .keras archive. The status is 0 if all of it can be read and it holds nothing but groups,
attributes and arrays of its own; else the last line of standard error says why not. It imports nothing of graft: it
runs by its path alone.
"""

import io
import sys
import zipfile
from pathlib import Path

import h5py

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_MEMORY = 4 << 30
# Weights hardly become smaller by compression: arrays that claim much more than the file has are a trap.
LARGEST_GAIN = 20
MEMBER = "model.weights.h5"


def hdf5_file(path: str, most: int) -> str | io.BytesIO:
    """Return the path of an HDF5 file, or the content of the one in a .keras archive, at most `most` bytes."""
    if not path.endswith(".keras"):
        return path
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(MEMBER).file_size > most:
            raise ValueError(f"its {MEMBER} claims more than {LARGEST_GAIN} times the size of the file")
        return io.BytesIO(archive.read(MEMBER))


def check(group: h5py.Group, most: int) -> None:
    """Read all attributes and arrays below a group; raise a ValueError for what is not plain."""
    left, seen, waiting = most, set(), [group]
    while waiting:
        item = waiting.pop()
        place = h5py.h5o.get_info(item.id).addr
        if place in seen:
            continue
        seen.add(place)
        for name in item.attrs:
            item.attrs[name]
        if isinstance(item, h5py.Group):
            for name in item:
                if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{item.name}/{name} is a link out of it")  # noqa: TRY004 - a fault of the file
                waiting.append(item[name])
        elif isinstance(item, h5py.Dataset):
            left -= item.nbytes
            if item.is_virtual or item.external:
                raise ValueError(f"{item.name} has its values in another file")
            if left < 0:
                raise ValueError(f"its arrays claim more than {LARGEST_GAIN} times the size of the file")
            item[()]


def main() -> None:
    """Read the file that the command line names; raise an error if not all of it is plain and readable."""
    path = sys.argv[1]
    size = Path(path).stat().st_size
    memory = MOST_MEMORY + 2 * size
    if resource:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    most = LARGEST_GAIN * size
    with h5py.File(hdf5_file(path, most), "r") as hdf5:
        check(hdf5, most)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - HDF5 can raise anything at a damaged file
        sys.exit(" ".join(str(error).split())[:200] or type(error).__name__)
