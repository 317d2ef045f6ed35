"""Tar shards for tests."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def write_shard(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """Write a .tar with these names and contents, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def image_paths(folder: Path) -> list[Path]:
    """Return the images of a folder of class folders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))


def pack_folders(photos: Path, target: Path, count: int = 3, stem: str = "photos") -> list[Path]:
    """Write the images of a folder of class folders into shards under their own names, in order."""
    images = image_paths(photos)
    size = -(-len(images) // count)
    chunks = [images[start : start + size] for start in range(0, len(images), size)]
    return [
        write_shard(
            target / f"{stem}-{number:06d}.tar",
            ((path.relative_to(photos).as_posix(), path.read_bytes()) for path in chunk),
        )
        for number, chunk in enumerate(chunks)
    ]


def samples(photos: Path, label: str = "cls", classes: dict[str, object] | None = None) -> list[tuple[str, bytes]]:
    """Return the files of samples in the layout of webdataset: KEY.jpg or KEY.png, and KEY.cls or KEY.json.

    Parameters
    ----------
    photos : a folder of class folders.
    label : cls, or json for {"label": ...}.
    classes : what the label of each class folder is, the name of the folder without it.
    """
    files = []
    for number, path in enumerate(image_paths(photos)):
        name = path.parent.name if classes is None else classes[path.parent.name]
        value = name if isinstance(name, int) else f'"{name}"'
        text = str(name) if label == "cls" else f'{{"label": {value}}}'
        files += [(f"{number:06d}{path.suffix}", path.read_bytes()), (f"{number:06d}.{label}", text.encode())]
    return files
