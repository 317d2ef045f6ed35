"""How similar an image is to the training images: their features, and the nearest of them."""

from collections.abc import Sequence

import numpy as np

from graft.images.table import ImageTable
from graft.scores.known import unit_rows

# The exported file holds the features of this many training images at most: 5 MB of 1,280 features.
MOST_REFERENCES = 1000
# Images looked at together.
BLOCK = 20_000


def reference_rows(images: ImageTable, most: int = MOST_REFERENCES) -> np.ndarray:
    """Return the rows of the images to compare with, int array, ascending: as many of each class as there can be.

    Parameters
    ----------
    images : the training part. The hash of an image decides whether it is among them.
    most : number of rows, at most.
    """
    chosen = np.empty(0, int)
    # Blocks bound the memory. What is not among the first ones of a block is not among those of all.
    for start in range(0, len(images), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(images)))
        chosen = _first(images.take(np.concatenate([chosen, rows])), np.concatenate([chosen, rows]), most)
    return np.sort(chosen)


def _first(images: ImageTable, rows: np.ndarray, most: int) -> np.ndarray:
    """Return the rows of the images that come first in their class by their hash, at most so many of all classes."""
    sha256 = np.asarray(images.sha256)
    order = np.argsort(sha256, kind="stable")
    place = np.empty(len(images), int)
    for label in range(len(images.classes)):
        of_class = order[images.labels[order] == label]
        place[of_class] = np.arange(len(of_class))
    return rows[np.lexsort((sha256, place))[:most]]


def similarities(features: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between each row and each reference, float32 array (rows, references).

    Parameters
    ----------
    features : float32 array (rows, features).
    references : float32 array (references, features), each of length 1.
    """
    return unit_rows(features) @ references.T


def nearest(similarity: np.ndarray, allowed: Sequence[bool] | np.ndarray | slice = slice(None)) -> np.ndarray:
    """Return the highest of `similarities` of each row, among the references that are allowed."""
    return similarity[:, allowed].max(axis=1)
