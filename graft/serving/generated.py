"""Generated pictures that show nothing: noise, gradients, stripes, plain colours."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 128
OF_EACH_KIND = 12


def _noise(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, (SIZE, SIZE, 3))


def _clouds(random: np.random.Generator) -> np.ndarray:
    small = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
    return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _gradient(random: np.random.Generator) -> np.ndarray:
    start, end = random.integers(0, 256, (2, 3))
    return start + (end - start) * np.arange(SIZE)[:, np.newaxis, np.newaxis] // SIZE + np.zeros((1, SIZE, 1), int)


def _stripes(random: np.random.Generator) -> np.ndarray:
    colours, width = random.integers(0, 256, (2, 3)), random.integers(2, 32)
    return colours[(np.arange(SIZE) // width + np.zeros((SIZE, 1), int)) % 2]


def _plain(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, 3) + np.zeros((SIZE, SIZE, 3), int)


KINDS: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (_noise, _clouds, _gradient, _stripes, _plain)


def write_pictures(folder: Path) -> Iterator[Path]:
    """Write `OF_EACH_KIND` pictures of each kind, the same each time; yield the path of each PNG file."""
    for kind in KINDS:
        for number in range(OF_EACH_KIND):
            path = folder / f"{kind.__name__.strip('_')}_{number:02d}.png"
            Image.fromarray(kind(np.random.default_rng(number)).astype(np.uint8)).save(path)
            yield path
