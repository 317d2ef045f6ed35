"""How similar an image is to the training images: centres of their features, and the nearest of them."""

from collections.abc import Sequence

import numpy as np

from graft.images.table import ImageTable
from graft.scores.known import unit_rows

# So many training images are clustered at most.
MOST_IMAGES = 1000
# The exported file holds so many centres at most, or one a class: 1.3 MB of 1,280 features.
MOST_CENTRES = 250
ROUNDS = 20
# Images looked at together.
BLOCK = 20_000


def reference_rows(images: ImageTable, most: int = MOST_IMAGES) -> np.ndarray:
    """Return the rows of the images to cluster, int array: as many of each class as there can be, by their hash.

    Parameters
    ----------
    images : the training part. The hash of an image decides whether it is among them, and where.
    most : number of rows, at most.
    """
    chosen = np.empty(0, int)
    # Blocks bound the memory. What is not among the first ones of a block is not among those of all.
    for start in range(0, len(images), BLOCK):
        rows = np.concatenate([chosen, np.arange(start, min(start + BLOCK, len(images)))])
        chosen = _first(images.take(rows), rows, most)
    return chosen


def _first(images: ImageTable, rows: np.ndarray, most: int) -> np.ndarray:
    """Return the rows of the images that come first in their class by their hash, at most so many of all classes."""
    sha256 = np.asarray(images.sha256)
    order = np.argsort(sha256, kind="stable")
    place = np.empty(len(images), int)
    for label in range(len(images.classes)):
        of_class = order[images.labels[order] == label]
        place[of_class] = np.arange(len(of_class))
    return rows[np.lexsort((sha256, place))[:most]]


def centres(features: np.ndarray, labels: np.ndarray, most: int = MOST_CENTRES) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of each class, by spherical k-means, and their labels.

    Each row belongs to the centre with the highest cosine, and each centre is the direction of the sum of its rows
    (Dhillon & Modha 2001, "Concept Decompositions for Large Sparse Text Data Using Clustering", Machine Learning 42).

    Parameters
    ----------
    features : float32 array (rows, features), the first row of each class is its first centre.
    labels : int array (rows,).
    most : number of centres, at most; but each class has one.

    Returns
    -------
    float32 array (centres, features), each of length 1, and int array (centres,).
    """
    rows, found = unit_rows(features), np.unique(labels)
    of_class = [_clustered(rows[labels == label], max(1, most // len(found))) for label in found]
    return np.concatenate(of_class), np.repeat(found, [len(those) for those in of_class])


def _clustered(rows: np.ndarray, count: int) -> np.ndarray:
    # The first centres are far apart: each is the row that is least like those before it.
    chosen, similarity = [0], rows @ rows[0]
    while len(chosen) < min(count, len(rows)):
        chosen.append(int(similarity.argmin()))
        similarity = np.maximum(similarity, rows @ rows[chosen[-1]])
    middles = rows[chosen]
    for _ in range(ROUNDS):
        members = (rows @ middles.T).argmax(axis=1) == np.arange(len(middles))[:, np.newaxis]
        # One without rows, as among images that are alike, stays.
        middles = np.where(members.any(axis=1, keepdims=True), unit_rows(members.astype(rows.dtype) @ rows), middles)
    return middles


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
