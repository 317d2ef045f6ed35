"""Writes what the stage split writes, for tests of later stages."""

from pathlib import Path

from graft.core.files import sha256_of, write_json, write_rows
from graft.images.table import COLUMNS


def write_split(image_folder: Path) -> list[dict[str, str]]:
    """Split a folder of class folders into the current one's data/: every fourth image is test, the next validation.

    Returns the rows of data/split.csv.
    """
    rows = []
    for place, path in enumerate(sorted(image_folder.rglob("*.*"))):
        part = ("test", "validation", "train", "train")[place % 4]
        name = path.relative_to(image_folder).as_posix()
        rows.append(dict(zip(COLUMNS, (name, path.parent.name, part, sha256_of(path), f"{place:06x}"), strict=True)))
    Path("data").mkdir()
    Path("data/raw").symlink_to(image_folder)
    write_rows("data/split.csv", COLUMNS, rows)
    write_json("data/classes.json", sorted({row["label"] for row in rows}))
    return rows
