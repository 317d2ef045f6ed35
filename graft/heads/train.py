"""Trains a head of any kind on the features of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.core.errors import GraftError
from graft.core.quiet import importing
from graft.heads import linear
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import FOLDS, Fold, grouped_folds
from graft.heads.head import Head
from graft.images.text_column import taken
from graft.images.view_order import view_in_epoch
from graft.settings import params

NO_FOLDS = "no class has two training images that are not copies of each other"


@dataclass(frozen=True)
class FeatureSet:
    """The images of one part with their features.

    Attributes
    ----------
    features : float32 (images, ...), an array or a FeatureFile.
    labels : int array (images,), from 0.
    sha256 : str array (images,), of the image files.
    groups : array (images,); the images of one group are copies of one picture.
    classes : number of classes, from 2.
    views : float32 (images, views, ...), augmented views of the same images; or None.
    """

    features: np.ndarray | FeatureFile
    labels: np.ndarray
    sha256: np.ndarray
    groups: np.ndarray
    classes: int
    views: np.ndarray | FeatureFile | None = None

    def take(self, images: np.ndarray) -> FeatureSet:
        """Return the images at these indices, an int array, in its order."""
        views = None if self.views is None else _taken(self.views, images)
        labels, sha256, groups = taken((self.labels, self.sha256, self.groups), images)
        return FeatureSet(_taken(self.features, images), labels, sha256, groups, self.classes, views)

    def read(self) -> np.ndarray:
        """Return the features of all images, in memory."""
        return self.features[np.arange(len(self.labels))]

    def read_blocks(self, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the features and labels of all images, at most so many at a time."""
        for start in range(0, len(self.labels), most):
            images = np.arange(start, min(start + most, len(self.labels)))
            yield self.features[images], self.labels[images]


def _taken(features: np.ndarray | FeatureFile, images: np.ndarray) -> np.ndarray | FeatureFile:
    return features.take(images) if isinstance(features, FeatureFile) else features[images]


def some_images(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return the indices of `most` images, taken at random, ascending.

    Parameters
    ----------
    labels : int array (images,), from 0.
    most : number of images. A class with fewer than `FOLDS` images among them gets more, if it has them.
    seed : another one takes other images.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = order[:most]
    counts = np.bincount(labels[chosen], minlength=labels.max() + 1)
    rest = order[most:]
    few = rest[counts[labels[rest]] < FOLDS]
    added = [few[labels[few] == label][: FOLDS - counts[label]] for label in np.unique(labels[few])]
    return np.sort(np.concatenate([chosen, *added]))


def train_linear(
    train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log: Path | None, most: int | None
) -> Head:
    """Return a linear head on pooled features, or on the values of a feature map."""
    everything = linear.Examples(train.features, train.labels, train.classes, train.views)
    in_memory, count = most is None or len(train.labels) <= most, len(train.labels)
    if most is not None and not in_memory:
        train = train.take(some_images(train.labels, most, seed))
    examples = linear.Examples(train.features, train.labels, train.classes, train.views)
    folds = grouped_folds(train.labels, np.asarray(train.groups), seed)
    note = ""
    if settings.C != "auto":
        C = float(settings.C)
    elif folds:
        C = linear.choose_C(examples, folds)
    else:
        C = linear.DEFAULT_C
        note = f" (the default: {NO_FOLDS})"
    chosen = linear.Hyperparameters(C)
    if obstacle := _lda_obstacle(examples, folds):
        if settings.lda not in (0, "auto"):
            raise GraftError(f"head.lda: {settings.lda:g}, but {obstacle}; 0 does without")
    elif settings.lda != 0:
        shares = linear.LDA_SHARES if settings.lda == "auto" else [settings.lda]
        chosen = linear.choose_lda(examples, C, shares, folds)
    with_lda = f", and {chosen.lda:.0%} linear discriminant analysis" if chosen.lda else ""
    validated = not in_memory and (settings.C, settings.lda) != (chosen.C, 0)
    by = f", cross-validated on {len(train.labels)} of {count} training images" if validated else ""
    print(f"logistic regression, C {C:g}{note}{with_lda}{by}")
    return linear.fit(everything, chosen, in_memory)


def _lda_obstacle(examples: linear.Examples, folds: list[Fold]) -> str | None:
    """Return why the temperatures of LDA cannot be computed, or None."""
    if examples.size > linear.MOST_LDA_FEATURES:
        return f"there are {examples.size:,} features, more than {linear.MOST_LDA_FEATURES:,}"
    return None if folds else NO_FOLDS


def train_dense(
    train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log: Path | None, most: int | None
) -> Head:
    """Return a head that Keras trains, on batches that are read from disk."""
    with importing():
        from graft.heads import dense
        from graft.heads.layers import initial_head

    def read(images: np.ndarray, epoch: int) -> np.ndarray:
        features = train.features[images]
        views = np.array([view_in_epoch(sha256, epoch, settings.views) for sha256 in train.sha256[images]])
        if (augmented := np.flatnonzero(views)).size:
            # `settings.views` is 0 where there are none.
            features[augmented] = train.views[images[augmented], views[augmented] - 1]  # type: ignore[index]
        return features

    shape = train.features.shape[1:]
    start = initial_head(shape, train.classes, settings, seed)
    examples = dense.Batches(read, train.labels, settings.batch_size, seed)
    held_out = dense.Batches(
        lambda images, _: validation.features[images], validation.labels, settings.batch_size, None
    )
    head, epoch = dense.fit(start, shape, examples, held_out, settings, seed, log)
    print(f"{settings.kind} head with the weights of epoch {epoch}")
    return head


TRAINERS = {"linear": train_linear, "mlp": train_dense, "se": train_dense}


def train_head(
    train: FeatureSet,
    validation: FeatureSet,
    settings: params.Head,
    seed: int,
    log_folder: Path | None = None,
    most: int | None = None,
) -> Head:
    """Return a head trained on `train`. The same arguments give the same weights to the last bit.

    Parameters
    ----------
    train : the training part.
    validation : the validation part. A linear head does not use it; the others keep the epoch that is best on it.
    settings : `head` of params.yaml.
    seed : of everything random.
    log_folder : where TensorBoard's log is written; None writes none.
    most : the number of training images whose rows may be in memory at once; None: all. With more, a linear head reads
        them again in each step, and `C: auto` and `lda: auto` are chosen on so many images, taken at random.

    Raises
    ------
    GraftError
        If a setting does not fit the features, or the loss is not a finite number.
    """
    return TRAINERS[settings.kind](train, validation, settings, seed, log_folder, most)
