"""Trains a head of any kind on features from disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.core.errors import GraftError
from graft.core.quiet import importing
from graft.heads import linear
from graft.heads.head import Head
from graft.images.view_order import view_in_epoch
from graft.settings import params


@dataclass(frozen=True)
class FeatureSet:
    """Images with their features, which may stay on disk until they are read.

    Attributes
    ----------
    features : float32 array (rows, ...), or a memory map of one; rows of other images are in it too.
    rows : int array (images,), the row of each image.
    labels : int array (images,), from 0.
    sha256 : str array (images,), of the image files.
    classes : how many there are, from 2.
    views : float32 array (images, views, ...), of augmented views of the same images; or None.
    """

    features: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    sha256: np.ndarray
    classes: int
    views: np.ndarray | None = None

    def read(self, images: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the features of some of the images, by default of all, in memory."""
        return self.features[self.rows[images]]


def train_linear(train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log: Path | None) -> Head:
    """Return the head that scikit-learn fits to pooled features, or to the values of a map."""
    views = None if train.views is None else train.views.reshape(*train.views.shape[:2], -1)
    features = train.read()
    examples = linear.Examples(features.reshape(len(features), -1), train.labels, train.classes, views)
    strength = linear.choose_strength(examples, seed) if settings.C == "auto" else float(settings.C)
    mixture = linear.Mixture(strength)
    if obstacle := linear.no_discriminant(examples):
        if settings.lda not in (0, "auto"):
            raise GraftError(f"head.lda: {settings.lda:g}, but {obstacle}; 0 does without")
    elif settings.lda != 0:
        shares = linear.SHARES if settings.lda == "auto" else [settings.lda]
        mixture = linear.choose_mixture(examples, strength, shares, seed)
    beside = f", and {mixture.share:.0%} linear discriminant analysis" if mixture.share else ""
    print(f"logistic regression, C {strength:g}{beside}")
    return linear.fit(examples, mixture)


def train_dense(train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log: Path | None) -> Head:
    """Return the head that Keras trains."""
    with importing():
        from graft.heads import dense
        from graft.heads.layers import initial_head

    def read(images: np.ndarray, epoch: int) -> np.ndarray:
        features = train.read(images)
        for row, image in enumerate(images):
            if view := view_in_epoch(train.sha256[image], epoch, settings.views):
                features[row] = train.views[image, view - 1]
        return features

    shape = train.features.shape[1:]
    start = initial_head(shape, train.classes, settings, seed)
    batches = dense.Batches(read, train.labels, settings.batch_size, seed)
    held_out = dense.Batches(
        lambda images, _: validation.read(images), validation.labels, settings.batch_size, None
    )
    head, epoch = dense.fit(start, shape, batches, held_out, settings, seed, log)
    print(f"{settings.kind} head, its weights those of epoch {epoch}")
    return head


TRAINERS = {"linear": train_linear, "mlp": train_dense, "se": train_dense}


def train_head(
    train: FeatureSet, validation: FeatureSet, settings: params.Head, seed: int, log_folder: Path | None = None
) -> Head:
    """Return a head trained on `train`; the same arguments give the same weights to the last bit.

    Parameters
    ----------
    train, validation : a linear head does not look at validation, the others keep the epoch that is best on it.
    settings : `head` of params.yaml.
    seed : of all that is random.
    log_folder : where TensorBoard's log goes; None writes none.

    Raises
    ------
    GraftError
        If a setting does not fit the features, or the loss is no longer a finite number.
    """
    return TRAINERS[settings.kind](train, validation, settings, seed, log_folder)
