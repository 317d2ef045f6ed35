"""Trains heads of dense layers with Keras."""

import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from graft.core.errors import GraftError
from graft.core.progress import Progress
from graft.heads.head import Head
from graft.heads.layers import head_logits, trained_head
from graft.settings import params
from graft.settings.optimizers import build_optimizer, ema_options
from graft.settings.schedules import learning_rate, reduce_on_plateau

CROSS_ENTROPY = "cross_entropy"


class Batches(keras.utils.PyDataset):
    """Features and labels in batches.

    Parameters
    ----------
    read : callable
        ``read(rows, epoch)`` returns the features of some examples, float32 (rows, ...). `rows` is an int64 array of
        indices into `labels`. `epoch` counts from 0; which view of an image is read depends on it.
    labels : int array (examples,).
    size : examples in a batch, from 1; the last batch of an epoch may have fewer.
    seed : of the order of the examples, which is a new one in each epoch. None keeps the order of `labels`, and reads
        the views of epoch 0 in every epoch.
    """

    def __init__(
        self, read: Callable[[np.ndarray, int], np.ndarray], labels: np.ndarray, size: int, seed: int | None
    ) -> None:
        super().__init__()
        self._read, self._labels, self._size, self._seed = read, labels, size, seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Start an epoch, from 0."""
        # Not `on_epoch_end`: some versions of Keras call it once too often.
        count = len(self._labels)
        if self._seed is None:
            self._epoch, self._rows = 0, np.arange(count)
        else:
            self._epoch, self._rows = epoch, np.random.default_rng([self._seed, epoch]).permutation(count)

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows[index * self._size : (index + 1) * self._size]
        return self._read(rows, self._epoch), self._labels[rows]


def fit(
    start: Head,
    shape: tuple[int, ...],
    train: Batches,
    validation: Batches,
    settings: params.Head,
    seed: int,
    log_folder: Path | None = None,
) -> tuple[Head, int]:
    """Train a head with Keras and show a progress bar. The same arguments give the same weights to the last bit.

    Parameters
    ----------
    start : the untrained head.
    shape : of one image's features, as for `initial_head`.
    train : the training examples.
    validation : the epoch with the lowest cross-entropy on these examples is kept; it also decides when to stop.
    settings : `head` of params.yaml.
    seed : of dropout.
    log_folder : where TensorBoard's log is written; None writes none.

    Returns
    -------
    The trained head, and the epoch, from 1, whose weights it has.

    Raises
    ------
    GraftError
        If the loss is not a finite number.
    """
    features = keras.Input(shape)
    model = keras.Model(features, head_logits(features, start, settings.dropouts, settings.l2, seed))
    classes = model.output.shape[-1]
    model.compile(
        _optimizer(settings, len(train) * settings.epochs),
        _smoothed_cross_entropy(classes, settings.label_smoothing),
        # The loss includes the L2 penalty, so the cross-entropy is a metric of its own.
        metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name=CROSS_ENTROPY), "accuracy"],
        jit_compile=False,
    )
    best = keras.callbacks.EarlyStopping(
        f"val_{CROSS_ENTROPY}", patience=settings.patience or settings.epochs, mode="min", restore_best_weights=True
    )
    with Progress(name="epochs", total=settings.epochs) as bar:
        progress = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, _: train.start(epoch), on_epoch_end=lambda *_: bar.update()
        )
        history = model.fit(
            train,
            validation_data=validation,
            epochs=settings.epochs,
            shuffle=False,
            callbacks=[progress, *_callbacks(settings, log_folder), best],
            verbose=0,
        ).history
    # The last step's weights may give no number where no step's loss shows it.
    losses = np.array([*history["loss"], *history[f"val_{CROSS_ENTROPY}"]])
    if not np.isfinite(losses).all():
        found = losses[~np.isfinite(losses)][0]
        raise GraftError(f"head.lr: at a learning rate of {settings.lr:g} the loss is {found}; try a smaller one")
    return trained_head(model, start), best.best_epoch + 1


def _optimizer(settings: params.Head, steps: int) -> keras.Optimizer:
    rate = learning_rate(settings.schedule, settings.lr, steps, settings.warmup)
    average = ema_options(settings.ema, steps)
    return build_optimizer(settings.optimizer, settings.momentum, learning_rate=rate, **average)


def _callbacks(settings: params.Head, log_folder: Path | None) -> list[keras.callbacks.Callback]:
    """Return the other callbacks, in the order in which they must run."""
    # The averaged weights must be in place before the other callbacks judge and keep them.
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.ema else []
    callbacks.append(keras.callbacks.TerminateOnNaN())
    if log_folder:
        # Before the callback that lowers the rate: so the log has the rate that the epoch used.
        callbacks.append(keras.callbacks.TensorBoard(log_folder, write_graph=False))
    if settings.schedule == "plateau":
        callbacks.append(reduce_on_plateau(f"val_{CROSS_ENTROPY}", settings.plateau_patience))
    return callbacks


def _smoothed_cross_entropy(classes: int, label_smoothing: float) -> Callable[..., keras.KerasTensor]:
    """Return the cross-entropy of class indices and logits with smoothed labels. Keras smooths only one-hot labels."""
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    # Keras passes the labels as float32.
    return lambda labels, logits: loss(keras.ops.one_hot(keras.ops.cast(labels, "int32"), classes), logits)
