"""Trains the top of a network on cached activations, as fast as TensorFlow on a CPU allows.

Optimisers, schedules, losses and callbacks are Keras's own; only the loop is written here. A step costs less
than in `fit`, for four reasons: BatchNorms are folded before (`folding`), convolutions are computed in forms that
are faster to differentiate (`fast_gradients`), the optimiser sees two long vectors (`flat_network`), and oneDNN is on
(TF_ENABLE_ONEDNN_OPTS=1 before TensorFlow is imported: its default depends on the processor).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf

from graft.core.errors import GraftError
from graft.settings import params
from graft.settings.optimizers import build_optimizer, ema_options
from graft.settings.schedules import learning_rate, reduce_on_plateau
from graft.training.fast_gradients import with_fast_gradients
from graft.training.flat_network import FlatNetwork

Item = TypeVar("Item")


class Examples(NamedTuple):
    """What to learn from, read a batch at a time.

    Attributes
    ----------
    read : callable
        ``read(rows, epoch)`` returns the maps of some examples, float16 or float32 (rows, height, width, channels).
        `rows` is an int64 array of indices into `labels`, `epoch` counts from 0 and says which view is wanted. It is
        called in a thread of its own, while the batch before is being computed.
    labels : numpy.ndarray
        Class indices, int (examples,).
    """

    read: Callable[[np.ndarray, int], np.ndarray]
    labels: np.ndarray


MONITORS = {"val_loss": "min", "val_accuracy": "max"}

Row = dict[str, float]


def train(
    model: keras.Model,
    examples: Examples,
    validation: Examples | None,
    settings: params.FineTune,
    lr: float,
    seed: int,
    log_folder: Path | None = None,
    on_epoch: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Train a network on cached maps, in place; return what happened in each epoch.

    Layers run in inference mode: BatchNorm's statistics stay as they are. Layers with ``trainable = False`` stay as
    they are. The same arguments give the same weights to the last bit at the same number of threads; nothing depends
    on what the process did before. One batch and the one after it are in memory.

    Parameters
    ----------
    model : keras.Model
        Functional: maps, float32 (batch, height, width, channels), to logits, float32 (batch, classes). Its last layer
        is the head, a Dense layer without activation; start it from a linear probe (Kumar et al. 2022,
        arXiv 2202.10054). Fold its BatchNorms before (`folding.fold_batch_norms`): a step is then a quarter faster.
    examples, validation : Examples
        Validation is read at epoch 0. Without it the last epoch's weights are kept.
    settings : `fine_tune` of params.yaml, with a number of epochs and a precision in place of ``auto``; 0 epochs leave
        the network as it is.
    lr : the peak learning rate, above 0.
    seed : of the examples' order, of dropout and of mixup.
    log_folder : where TensorBoard's log goes; None writes none.
    on_epoch : callable or None
        Called with each row as it is ready.

    Returns
    -------
    list of dict
        A row an epoch: epoch (from 1), learning_rate (that the optimiser used in the epoch's last step), loss (with
        label smoothing and dropout) and accuracy over the epoch's training steps; val_loss and val_accuracy (without).

    Raises
    ------
    GraftError
        If the loss is no longer a finite number.
    """
    if not settings.epochs:
        return []
    twin = with_fast_gradients(model, settings.precision)
    flat = FlatNetwork(twin)
    steps = math.ceil(len(examples.labels) / settings.batch_size)
    flat.compile(optimizer=_optimizer(flat, settings, lr, steps * settings.epochs))
    callbacks = _callbacks(flat, settings, validation is not None, log_folder)
    step = _training_step(twin, flat, settings, seed)
    validate = _validation(twin, flat, validation, settings.batch_size)
    history: list[Row] = []
    callbacks.on_train_begin()
    for epoch in range(settings.epochs):
        callbacks.on_epoch_begin(epoch)
        row = {"epoch": epoch + 1}
        batches = _shuffled_batches(examples, epoch, settings.batch_size, seed)
        row |= _trained(step, batches, _mixing_shares(epoch, settings.mixup, seed))
        callbacks.on_test_begin()
        row |= validate()
        callbacks.on_test_end()
        callbacks.on_epoch_end(epoch, dict(row))
        history.append(row)
        if on_epoch:
            on_epoch(row)
        if flat.stop_training:
            break
    callbacks.on_train_end()
    flat.write_back()
    model.set_weights(twin.get_weights())
    return history


def logits(
    model: keras.Model, weights: Iterable[Sequence[np.ndarray]], examples: Examples, batch_size: int = 32
) -> Iterator[np.ndarray]:
    """Yield for each choice of weights the logits of all examples, read at epoch 0: float32 array (examples, classes).

    Parameters
    ----------
    model : keras.Model
        Its own weights stay as they are.
    weights : of the whole network, as `get_weights` gives them.
    examples : Examples
    batch_size : examples that are computed together, from 1.
    """
    twin = with_fast_gradients(model)
    forward = _forward(twin, batch_size)
    for chosen in weights:
        twin.set_weights(chosen)
        yield forward(examples)


def interpolated(start: Sequence[np.ndarray], end: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """Return the weights on the line from `start` (share 0) to `end` (share 1)."""
    return [(1 - share) * one + share * other for one, other in zip(start, end, strict=True)]


def _optimizer(model: FlatNetwork, settings: params.FineTune, lr: float, steps: int) -> keras.Optimizer:
    optimizer = build_optimizer(
        settings.optimizer,
        settings.momentum,
        learning_rate=learning_rate(settings.schedule, lr, steps, settings.warmup),
        weight_decay=settings.weight_decay,
        **ema_options(settings.ema, steps),
    )
    # Decay is for kernels: He et al. 2018, arXiv 1812.01187, section 3.1.
    optimizer.exclude_from_weight_decay(var_list=[model.vectors])
    optimizer.build(model.trainable_variables)
    return optimizer


def _callbacks(
    model: keras.Model, settings: params.FineTune, validated: bool, log_folder: Path | None
) -> keras.callbacks.CallbackList:
    # Averages come first: the others see, and keep, the weights that they judge.
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.ema else []
    if log_folder:
        # Before what lowers the rate: it logs the one that was used.
        callbacks.append(keras.callbacks.TensorBoard(log_folder, write_graph=False))
    if validated and settings.schedule == "plateau":
        callbacks.append(reduce_on_plateau("val_loss", settings.plateau_patience))
    if validated and settings.monitor:
        patience = settings.epochs if settings.patience is None else settings.patience
        mode = MONITORS[settings.monitor]
        callbacks.append(
            keras.callbacks.EarlyStopping(settings.monitor, patience=patience, mode=mode, restore_best_weights=True)
        )
    model.stop_training = False
    return keras.callbacks.CallbackList(callbacks, model=model, epochs=settings.epochs)


def _training_step(
    model: keras.Model, flat: FlatNetwork, settings: params.FineTune, seed: int
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Return a function of a batch that takes a step and returns the rate, the summed loss and the number right."""
    head, optimizer, variables = model.layers[-1], flat.optimizer, flat.trainable_variables
    body = keras.Model(model.input, head.input)
    dropout = keras.layers.Dropout(settings.dropout, seed=seed)
    loss_of = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=settings.label_smoothing, reduction=None
    )

    # Compiled, the update reads and writes each vector once.
    @tf.function(autograph=False, jit_compile=True)
    def update(*gradients):
        optimizer.apply(gradients, variables)

    @tf.function(autograph=False)
    def step(maps, labels, weights, share):
        # Of each example, and of the one before it in the shuffled batch.
        maps, targets, weights = (
            _mixed(values, share) if settings.mixup else values
            for values in (tf.cast(maps, tf.float32), tf.one_hot(labels, head.units), weights)
        )
        with tf.GradientTape() as tape, flat.in_use():
            outputs = head(dropout(body(maps, training=False), training=True))
            losses = weights * loss_of(targets, outputs)
            loss = tf.reduce_sum(losses) / tf.reduce_sum(weights)
        rate = tf.convert_to_tensor(optimizer.learning_rate)
        update(*tape.gradient(loss, variables))
        right = tf.cast(tf.argmax(outputs, axis=-1, output_type=labels.dtype) == labels, tf.float32)
        return rate, tf.reduce_sum(losses), tf.reduce_sum(weights * right)

    return step


def _mixed(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return share * values + (1 - share) * tf.roll(values, 1, axis=0)


def _mixing_shares(epoch: int, mixup: float, seed: int) -> Iterator[np.float32]:
    """Yield for each step of an epoch the share, from 0.5 to 1, that an example keeps of itself."""
    generator = np.random.default_rng([seed, epoch, 1])
    while True:
        share = generator.beta(mixup, mixup) if mixup else 1
        # An example counts as right or wrong by the label that weighs more, its own.
        yield np.float32(max(share, 1 - share))


def _trained(
    step: Callable[..., tuple[tf.Tensor, ...]], batches: Iterator[tuple[np.ndarray, ...]], shares: Iterator[np.float32]
) -> Row:
    """Take a step for each batch; return the epoch's figures."""
    loss = right = count = 0.0
    # The batches come first: they end.
    for (maps, labels, weights), share in zip(_one_ahead(batches), shares, strict=False):
        rate, batch_loss, batch_right = map(float, step(maps, labels, weights, share))
        if not math.isfinite(batch_loss):
            raise GraftError(f"lr: at a learning rate of {rate:.3g} the loss is {batch_loss}; try a smaller lr")
        loss, right, count = loss + batch_loss, right + batch_right, count + float(weights.sum())
    return {"learning_rate": rate, "loss": loss / count, "accuracy": right / count}


def _validation(
    model: keras.Model, flat: FlatNetwork, validation: Examples | None, batch_size: int
) -> Callable[[], Row]:
    if validation is None:
        return dict
    forward = _forward(model, batch_size)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def validate() -> Row:
        flat.write_back()
        outputs = forward(validation)
        accuracy = float(np.mean(outputs.argmax(axis=1) == validation.labels))
        return {"val_loss": float(loss_of(validation.labels, outputs)), "val_accuracy": accuracy}

    return validate


def _forward(model: keras.Model, batch_size: int) -> Callable[[Examples], np.ndarray]:
    function = tf.function(lambda maps: model(tf.cast(maps, tf.float32), training=False), autograph=False)

    def forward(examples: Examples) -> np.ndarray:
        rows = np.arange(len(examples.labels))
        batches = _one_ahead(_batches(examples, rows, 0, batch_size))
        return np.concatenate([function(maps).numpy() for maps, _, _ in batches])[: len(rows)]

    return forward


def _shuffled_batches(examples: Examples, epoch: int, size: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    order = np.random.default_rng([seed, epoch]).permutation(len(examples.labels))
    return _batches(examples, order, epoch, size)


def _batches(examples: Examples, rows: np.ndarray, epoch: int, size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield maps, labels int32 and weights float32 of one shape: the last batch is filled up with weight 0."""
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        weights = (np.arange(size) < len(chosen)).astype(np.float32)
        chosen = np.resize(chosen, size)
        yield examples.read(chosen, epoch), examples.labels[chosen].astype(np.int32), weights


def _one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of an iterator while a thread gets the next one."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item
