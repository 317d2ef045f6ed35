"""Cross-validation folds of the training images."""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

FOLDS = 4


class Fold(NamedTuple):
    """The images to fit to and the images to judge by, each an int64 array of indices in ascending order."""

    train: np.ndarray
    held_out: np.ndarray


def grouped_folds(labels: np.ndarray, groups: np.ndarray, seed: int, most: int = FOLDS) -> list[Fold]:
    """Return up to `most` folds with the images of a group, copies of one picture, on one side.

    The groups of each class are spread evenly. If a class has fewer groups than `most`, there are fewer folds. Every
    class occurs in each training side: where it would not, its groups are not held out. So a class with one group is
    never held out, and an empty list means that no image can be held out.

    (StratifiedGroupKFold of scikit-learn lets a class be missing from a training side.)

    Parameters
    ----------
    labels : int array (images,), from 0.
    groups : array (images,), the group of each image.
    seed : from 0.
    most : the number of folds, from 2.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    # A group with images of several classes counts for the first of them.
    label_of = np.full(group_of.max() + 1, labels.max())
    np.minimum.at(label_of, group_of, labels)
    groups_of_class = np.bincount(label_of)
    several = np.flatnonzero(groups_of_class[label_of] > 1)
    if not len(several):
        return []
    fewest = int(groups_of_class[groups_of_class > 1].min())
    splitter = StratifiedKFold(min(most, fewest), shuffle=True, random_state=seed)
    parts = [several[part] for _, part in splitter.split(several, label_of[several])]
    folds = [_fold(labels, group_of, part) for part in parts]
    return [fold for fold in folds if len(fold.held_out)]


def _fold(labels: np.ndarray, group_of: np.ndarray, part: np.ndarray) -> Fold:
    held_out = np.isin(group_of, part)
    missing = np.bincount(labels[~held_out], minlength=labels.max() + 1)[labels] == 0
    held_out &= ~np.isin(group_of, group_of[missing])
    return Fold(np.flatnonzero(~held_out), np.flatnonzero(held_out))
