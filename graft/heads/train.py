"""Trains a head of any kind on the features of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.core.errors import GraftError
from graft.core.quiet import importing
from graft.heads import linear
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import Fold, grouped_folds
from graft.heads.head import Head
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

    def read(self) -> np.ndarray:
        """Return the features of all images, in memory."""
        return self.features[np.arange(len(self.labels))]


def train_linear(train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log: Path | None) -> Head:
    """Return a linear head on pooled features, or on the values of a feature map."""
    examples = linear.Examples(train.features, train.labels, train.classes, train.views)
    folds = grouped_folds(train.labels, train.groups, seed)
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
    print(f"logistic regression, C {C:g}{note}{with_lda}")
    return linear.fit(examples, chosen)


def _lda_obstacle(examples: linear.Examples, folds: list[Fold]) -> str | None:
    """Return why the temperatures of LDA cannot be computed, or None."""
    if examples.size > linear.MOST_LDA_FEATURES:
        return f"there are {examples.size:,} features, more than {linear.MOST_LDA_FEATURES:,}"
    return None if folds else NO_FOLDS


def train_dense(train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log: Path | None) -> Head:
    """Return a head that Keras trains."""
    with importing():
        from graft.heads import dense
        from graft.heads.layers import initial_head

    def read(images: np.ndarray, epoch: int) -> np.ndarray:
        features = train.features[images]
        views = np.array([view_in_epoch(train.sha256[image], epoch, settings.views) for image in images])
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
    train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log_folder: Path | None = None
) -> Head:
    """Return a head trained on `train`. The same arguments give the same weights to the last bit.

    Parameters
    ----------
    train : the training part.
    validation : the validation part. A linear head does not use it; the others keep the epoch that is best on it.
    settings : `head` of params.yaml.
    seed : of everything random.
    log_folder : where TensorBoard's log is written; None writes none.

    Raises
    ------
    GraftError
        If a setting does not fit the features, or the loss is not a finite number.
    """
    return TRAINERS[settings.kind](train, validation, settings, seed, log_folder)
