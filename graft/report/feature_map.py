"""A map of the test images in two dimensions: images with similar features of the backbone are near each other."""

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from graft.heads.feature_file import FeatureFile, count_rows
from graft.images.table import ImageTable

MOST_IMAGES = 1000
# They choose the two directions; more of them cost time alone.
MOST_TRAINING = 3000
COMPONENTS = 32


def feature_map(path: Path, table: ImageTable) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the places of test images on a plane that divides the classes of the training images best.

    Linear discriminant analysis (LDA) of the first principal components, both fitted on training images. With two
    classes LDA has one direction; the other is the first principal component.

    Parameters
    ----------
    path : of data/features/features.npy.
    table : all images.

    Returns
    -------
    Indices into the table (images,), and places, float array (images, 2); None without features of these images, or
    where a class has too few images.
    """
    if count_rows(path) != len(table):
        return None
    train, test = _some(table, "train", MOST_TRAINING), _some(table, "test", MOST_IMAGES)
    labels = table.labels[train]
    if len(test) < 3 or len(np.unique(labels)) < 2 or len(train) <= len(np.unique(labels)) + 2:
        return None
    known, asked = _vectors(path, train), _vectors(path, test)
    pca = PCA(min(COMPONENTS, *known.shape), random_state=0).fit(known)
    known, asked = pca.transform(known), pca.transform(asked)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(known, labels)
    places = lda.transform(asked)[:, :2]
    return test, places if places.shape[1] == 2 else np.column_stack([places[:, 0], asked[:, 0]])


def _some(table: ImageTable, part: str, most: int) -> np.ndarray:
    """Return the indices of images of a part, at most so many; their hashes decide which."""
    rows = np.flatnonzero(table.parts == part)
    return np.sort(rows[np.argsort(table.sha256[rows], kind="stable")][:most])


def _vectors(path: Path, rows: np.ndarray) -> np.ndarray:
    """Return the features of these rows, float array (rows, features); of a feature map, the mean of each channel."""
    features = FeatureFile(path, rows)[np.arange(len(rows))]
    return features.reshape(len(rows), -1, features.shape[-1]).mean(axis=1)


def nearest_of_class(path: Path, table: ImageTable, row: int, label: int) -> int | None:
    """Return the training image of a class that is most like an image, by the cosine of their features.

    Parameters
    ----------
    path : of data/features/features.npy; without it, it is the first image of the class.
    table : all images.
    row : the image.
    label : the class.
    """
    others = np.flatnonzero((table.labels == label) & (table.parts == "train"))
    others = others[others != row]
    if not len(others):
        return None
    if count_rows(path) != len(table):
        return int(others[0])
    own, known = _vectors(path, np.array([row]))[0], _vectors(path, others)
    cosines = known @ own / np.maximum(np.linalg.norm(known, axis=1) * np.linalg.norm(own), 1e-12)
    return int(others[cosines.argmax()])
