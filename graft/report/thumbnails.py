"""Small pictures for the page: each is in it once, however often it is shown, and their number and size are bounded."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from graft.core.threads import in_order
from graft.images import loader
from graft.images.decoder import UnreadableImageError

SIDE = 144
# Smaller pictures stay as they are, without loss.
TINY = 48
QUALITY = 62
MOST_PICTURES = 1600
# Of the text in the page, which is a third larger than the pictures.
MOST_BYTES = 7_000_000


class Thumbnails:
    """Collects pictures in the order of their importance: where there are too many, the last ones are left out.

    Parameters
    ----------
    folder : of the image files, data/raw.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers: dict[str, int] = {}
        self._makers: list[Callable[[], Image.Image]] = []

    def of_file(self, path: str) -> int:
        """Return the number of the picture of an image file, given by its path in the folder."""
        return self._number(path, lambda: loader.read(self.folder / path, SIDE, "pad"))

    def of_pixels(self, key: str, pixels: np.ndarray) -> int:
        """Return the number of the picture of an uint8 array (height, width, 3); `key` must be its own."""
        return self._number(f"\0{key}", lambda: Image.fromarray(pixels))

    def _number(self, key: str, make: Callable[[], Image.Image]) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self._makers)
            self._makers.append(make)
        return self._numbers[key]

    def encoded(self) -> Sequence[str | None]:
        """Return the address (data:image/webp;base64,...) of each picture by its number.

        It is None for a picture that cannot be read, and for all after the bounds are reached.
        """
        found: list[str | None] = []
        size = 0
        for address in in_order(_address, self._makers[:MOST_PICTURES]):
            size += len(address or "")
            if size > MOST_BYTES:
                break
            found.append(address)
        return found + [None] * (len(self._makers) - len(found))


def _address(make: Callable[[], Image.Image]) -> str | None:
    try:
        picture = make()
    except UnreadableImageError:
        return None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=max(picture.size) <= TINY, quality=QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
