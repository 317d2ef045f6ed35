"""Which images are copies of one picture: saved again, in another format or size, or with a little cut off the edges.

Images that share a perceptual hash are compared pixel by pixel. Pictures of a fixed camera share it too, and are not
copies if a small part of them differs.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from graft.data.perceptual_hash import GRID, grey_thumbnail, hash_and_neighbour, low_frequencies

# The shorter side, in pixels, that a picture is decoded to at least: at half of it, the rounding of the decoder's
# sizes moves the content by more than a JPEG copy does.
DECODED_SIDE = 4 * GRID
COLOUR_GRID = 8
# Where the planes of Cb and Cr begin in the pixels of a fingerprint.
PLANES = (GRID**2, GRID**2 + COLOUR_GRID**2)
# A saved copy differs by at most so many grey levels in every pixel of the thumbnails, and more for small pictures,
# where a pixel of the thumbnail is the mean of few pixels: LEVELS * LARGE / shorter side.
LEVELS, MOST_LEVELS, LARGE = 8, 40, 160
# The means of the thumbnails' planes, Y, Cb and Cr, differ by at most so many levels.
MEAN_LEVELS = 4
# What a small crop moves and stretches explains the difference to it: the rest has at most this share of the norm of
# the difference, and at most so many levels (root mean square).
FREQUENCIES, UNEXPLAINED, REST_LEVELS = 12, 0.6, 4
# Compared with all others at once; bounds the memory.
BLOCK = 16
# A picture in a file: the size and SHA-256 of its own file, and what is compared.
PICTURE = np.dtype(
    [("bytes", np.int64), ("sha256", "S64"), ("levels", np.float64), ("pixels", np.uint8, GRID**2 + 2 * COLOUR_GRID**2)]
)
# A hash of `HASH_BITS` and, in so many bits behind it, the number of its picture are a whole number of 64 bits.
HASH_BITS, NUMBER_BITS = 24, 40
LARGEST_NUMBER = (1 << NUMBER_BITS) - 1
# Hashes are in two to the power of so many files, by their first bits; the hashes of one file at a time are in memory.
FILE_BITS = 4


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of a picture; 1.2 KB.

    Attributes
    ----------
    hashes : its perceptual hash, and the one with the least certain sign changed.
    pixels : uint8 (1152,): 32 x 32 grey levels, then 8 x 8 of Cb and 8 x 8 of Cr.
    levels : how far each pixel of a saved copy may differ.
    """

    hashes: tuple[str, str]
    pixels: np.ndarray
    levels: float


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return what is compared of a picture, RGB, decoded to a shorter side of `DECODED_SIDE` or more if it has it."""
    grey = grey_thumbnail(image)
    colours = image.resize((COLOUR_GRID, COLOUR_GRID), Image.Resampling.BOX).convert("YCbCr")
    planes = [grey.ravel(), *(np.asarray(colours.getchannel(name)).ravel() for name in ("Cb", "Cr"))]
    levels = min(max(LEVELS, LEVELS * LARGE / min(image.size)), MOST_LEVELS)
    return Fingerprint(hash_and_neighbour(grey), np.concatenate(planes), levels)


class Rank(NamedTuple):
    """The place of a picture among its copies; the smallest rank is the first.

    Attributes
    ----------
    smaller : the size of its file in bytes, with a minus: the largest file is the first.
    sha256 : of its file.
    number : of the picture, in the order in which they were added.
    """

    smaller: int
    sha256: str
    number: int


class Fingerprints:
    """The fingerprints of pictures, in files.

    While copies are looked for, a byte of each picture is in memory; 16 bytes where all of them look alike.

    Parameters
    ----------
    folder : for the files; it does not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._count = 0
        self._hashes = [(folder / f"hashes-{number}").open("w+b") for number in range(1 << FILE_BITS)]
        self._pictures = (folder / "pictures").open("w+b")

    def add(self, one: Fingerprint, size: int, sha256: str) -> None:
        """Add a picture with the size, in bytes, and the SHA-256 of its file."""
        for value in (int(digits, 16) for digits in one.hashes):
            pair = np.array(value << NUMBER_BITS | self._count, np.uint64)
            self._hashes[value >> HASH_BITS - FILE_BITS].write(pair.tobytes())
        self._pictures.write(np.array((size, sha256, one.levels, one.pixels), PICTURE).tobytes())
        self._count += 1

    def first_copies(self) -> dict[int, Rank]:
        """Return for each picture that is a copy the first one that it is a copy of, by the picture's number.

        Whether two pictures are copies depends on these two alone. Being a copy is not passed on: where b is a copy of
        a, and c of b but not of a, the answer for c is b. So slow changes, as in a film, do not make one picture of
        all.
        """
        firsts: dict[int, Rank] = {}
        with self._pictures:
            self._pictures.flush()
            for file in self._hashes:
                for numbers in _numbers_of_equal_hashes(file):
                    for number, first in self._copies_among(numbers):
                        firsts[number] = min(first, firsts.get(number, first))
        return firsts

    def _copies_among(self, numbers: list[int]) -> Iterator[tuple[int, Rank]]:
        """Yield the copies among pictures of one hash, each with the first one that it is a copy of."""
        pictures = self._read(numbers)
        files = zip(pictures["bytes"].tolist(), pictures["sha256"].tolist(), numbers, strict=True)
        ranks = [Rank(-size, sha256.decode(), number) for size, sha256, number in files]
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        ranks.sort()
        for place, first in enumerate(_first_copies(pictures["pixels"][order], pictures["levels"][order]).tolist()):
            if first < place:
                yield ranks[place].number, ranks[first]

    def _read(self, numbers: list[int]) -> np.ndarray:
        """Return the pictures of these numbers as an array of type `PICTURE`."""
        length, file = PICTURE.itemsize, self._pictures.fileno()
        return np.frombuffer(b"".join(os.pread(file, length, number * length) for number in numbers), PICTURE)


def _numbers_of_equal_hashes(file: BinaryIO) -> Iterator[list[int]]:
    """Yield the numbers of the pictures that share a hash, for each such hash in a file; the file is closed."""
    with file:
        file.seek(0)
        pairs = np.fromfile(file, np.uint64)
    pairs.sort()
    for _, alike in groupby(pairs.data, lambda pair: pair >> NUMBER_BITS):
        numbers = [pair & LARGEST_NUMBER for pair in alike]
        if len(numbers) > 1:
            yield numbers


def _first_copies(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return for each picture the first one that it is a copy of, or itself: int64 array (pictures,).

    Parameters
    ----------
    pixels, levels : of the fingerprints, (pictures, 1152) and (pictures,).
    """
    first = np.arange(len(pixels))
    # (pixels, pictures): one pixel of all pictures is read in one piece.
    saved = _SavedCopies(np.ascontiguousarray(pixels.T), levels)
    crops = _Crops(pixels[:, : GRID**2].reshape(-1, GRID, GRID))
    means = np.column_stack([part.mean(axis=1) for part in np.split(pixels, PLANES, axis=1)])
    for start in range(0, len(pixels), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(pixels)))
        # A copy of an earlier picture needs no comparison.
        others = start + np.flatnonzero(first[start:] >= start)
        for row, cropped in zip(rows, crops.among(rows, others), strict=True):
            near = (np.abs(means[others] - means[row]) <= MEAN_LEVELS).all(axis=1)
            copies = others[near & (cropped | saved.among(int(row), others))]
            copies = copies[copies > row]
            first[copies] = np.minimum(first[copies], row)
    return first


class _SavedCopies:
    """Finds the pictures that differ by a few grey levels in each pixel.

    A small object differs by many levels in few pixels, the errors of JPEG and of resizing by few levels everywhere.
    """

    def __init__(self, pixels: np.ndarray, levels: np.ndarray) -> None:
        self._pixels, self._levels = pixels, levels
        usual = np.median(pixels, axis=1).astype(np.int16)
        self._most_unusual = np.array([np.abs(one - usual).argmax() for one in pixels.T])

    def among(self, row: int, others: np.ndarray) -> np.ndarray:
        """Return which of the others are saved copies of picture `row`, a bool array."""
        levels = np.maximum(self._levels[row], self._levels[others])
        # Most others differ where the picture is most unusual, so one pixel excludes them.
        pixel = self._most_unusual[row]
        near = self._differences(pixel, row, others) <= levels
        places = np.flatnonzero(near)
        if len(places):
            near[places] = self._differences(slice(None), row, others[places]).max(axis=0) <= levels[places]
        return near

    def _differences(self, pixel: int | slice, row: int, others: np.ndarray) -> np.ndarray:
        mine, theirs = self._pixels[pixel, row, np.newaxis], self._pixels[pixel][..., others]
        return np.maximum(mine, theirs) - np.minimum(mine, theirs)


class _Crops:
    """Finds the pictures whose difference is what moving and stretching the content makes.

    To first order, content that moves by (x, y) changes a pixel by its gradient times (x, y) (Lucas and Kanade 1981).
    A crop moves and stretches: four numbers, fitted by least squares, explain most of the difference. An object that
    appears is not explained by them.
    """

    def __init__(self, grey: np.ndarray) -> None:
        lowest = low_frequencies(grey, FREQUENCIES)
        # Differences are not changed by this, and are more exact.
        self._lowest = (lowest - lowest.mean(axis=0)).astype(np.float32)
        self._grey = grey

    def among(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return which of the others are crops of pictures `rows`, or the reverse: bool array (rows, others)."""
        mine, theirs = self._lowest[rows], self._lowest[others]
        squares = (mine**2).sum(1)[:, np.newaxis] - 2 * mine @ theirs.T + (theirs**2).sum(1)
        basis = self._movements(rows)  # (rows, frequencies, 4)
        flat = basis.transpose(0, 2, 1).reshape(-1, basis.shape[1])
        moved = (flat @ theirs.T).reshape(len(rows), 4, -1) - np.einsum("rf,rfk->rk", mine, basis)[..., np.newaxis]
        rest = squares - (moved**2).sum(1)
        return (rest <= UNEXPLAINED**2 * squares) & (rest <= (REST_LEVELS * GRID) ** 2)

    def _movements(self, rows: np.ndarray) -> np.ndarray:
        """Return an orthonormal basis of what small movements of the content change, float32 (rows, frequencies, 4)."""
        down, right = np.gradient(self._grey[rows].astype(np.float64), axis=(1, 2))
        place = (np.arange(GRID) - (GRID - 1) / 2) / GRID
        changes = np.stack([down, down * place[:, np.newaxis], right, right * place], axis=1)
        basis = low_frequencies(changes, FREQUENCIES).transpose(0, 2, 1)
        # A picture without gradients has no basis: the identity keeps the inverse finite and the result near 0.
        products = basis.transpose(0, 2, 1) @ basis + np.eye(4)
        return (basis @ np.linalg.cholesky(np.linalg.inv(products))).astype(np.float32)
