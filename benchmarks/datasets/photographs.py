"""Images to measure with: from an archive, or generated, so that the benchmarks run anywhere."""

import argparse
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

CLASSES = 5
SEED = 0
Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of the items, evenly spaced: of sorted items, each class keeps its share."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def bring(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Write `options.images` images into class folders of `folder`; return their paths, sorted.

    From `options.archive`, they are .jpg files of the archive, in folders of the same names; without it, they are
    generated. `options.images` is then set to their number, which is smaller where the archive has fewer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if options.archive is None:
        for number in range(options.images):
            _generate(folder / f"class_{number % CLASSES}" / f"{number:06}.jpg", number)
    else:
        with tarfile.open(options.archive) as members:
            found = sorted((m for m in members.getmembers() if m.name.endswith(".jpg")), key=lambda m: m.name)
            for member in spread(found, options.images):
                path = folder / Path(*Path(member.name).parts[-2:])
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(members.extractfile(member).read())
    paths = sorted(folder.rglob("*.jpg"))
    options.images = len(paths)
    return paths


def packed(folder: Path, archive: Path) -> Path:
    """Write an uncompressed archive of a folder of class folders; return its path."""
    with tarfile.open(archive, "w") as members:
        members.add(folder, "photographs")
    return archive


def copies(paths: Sequence[Path], folder: Path, times: int) -> None:
    """Write each image `times` times, each copy with another number of zero bytes at the end.

    A JPEG decoder stops at the end marker: the pixels are the same, and decoding takes as long. The SHA-256 is another,
    so that the store does not have them.
    """
    for path in paths:
        data = path.read_bytes()
        target = folder / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for number in range(times):
            (target / f"{path.stem}_{number}.jpg").write_bytes(data + b"\0" * number)


def _generate(path: Path, number: int) -> None:
    """Write an image of clouds in the colours of its class, in the size of many photographs on the web."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tint = np.random.default_rng([SEED, 1, number % CLASSES]).integers(0, 256, 3)
    clouds = np.random.default_rng([SEED, number]).integers(0, 256, (12, 16, 3))
    coarse = ((clouds + tint) // 2).astype(np.uint8)
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=90)
