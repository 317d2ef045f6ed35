"""Trains the top of a network on the maps of the frozen trunk, as fast as TensorFlow on a CPU allows.

The top is the part of the network above the cut (`graft.backbone.cut`), with the head on it. Optimisers, schedules,
losses and callbacks are Keras's own; only the loop is written here. A step takes less time than in Keras's `fit`, for
four reasons:

- `graft.backbone.fold_batch_norm` folds the BatchNorms into the convolutions before training;
- `graft.training.fast_gradients` computes convolutions in forms with faster gradients;
- `graft.training.flat_network` gives the optimiser two long vectors in place of many weights;
- `graft.core.environment` turns oneDNN on, which TensorFlow by default uses on some processors only.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from graft.core.errors import GraftError
from graft.settings import params
from graft.settings.optimizers import build_optimizer, ema_options
from graft.settings.schedules import learning_rate, reduce_on_plateau
from graft.training.batches import Batch, Examples, mixup_weights, ordered_batches, shuffled_batches
from graft.training.checkpoint import Checkpoint
from graft.training.devices import Devices, losing_none, this_process
from graft.training.fast_gradients import with_fast_gradients
from graft.training.flat_network import FlatNetwork
from graft.training.gpu import training_copy
from graft.training.layer_decay import decay_rates
from graft.training.precision import FLOAT16
from graft.training.step import Step, own_rows, rows_before, shared_forward, shared_step, training_step

# An epoch's figures by their names, as `train` describes them.
Row = dict[str, float]
COLUMNS = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")


@losing_none()
def train(
    model: keras.Model,
    examples: Examples,
    validation: Examples | None,
    settings: params.FineTune,
    lr: float,
    seed: int,
    log_folder: Path | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    *,
    checkpoint: Checkpoint | None = None,
) -> list[Row]:
    """Train a network on maps, in place; return the figures of each epoch.

    Layers run in inference mode: the statistics of BatchNorms do not change. Layers with ``trainable = False`` do not
    change. With the same number of threads, the same arguments give the same weights to the last bit, whatever the
    process did before.

    Where there are several devices (`devices.this_process`), they share each batch. The result is that of one device up
    to rounding. Every worker of a cluster calls this with the same arguments, and gets the same weights.

    Parameters
    ----------
    model : keras.Model
        Functional: maps or tokens, float32 (batch, ...), to logits, float32 (batch, classes). Its last layer
        is the head, a Dense layer without activation. A good start for it is a head trained on frozen features (Kumar
        et al. 2022, arXiv 2202.10054). With its BatchNorms folded (`fold_batch_norms`) a step takes a quarter less.
    examples : Examples
        To train on.
    validation : Examples or None
        Read at epoch 0. None keeps the last epoch's weights.
    settings : `fine_tune` of params.yaml, as `fine_tune.resolved_settings` returns it: `epochs` and `precision` are
        not ``auto``. 0 epochs leave the network as it is.
    lr : the peak learning rate, above 0.
    seed : of the order of the examples, of dropout and of mixup.
    log_folder : of TensorBoard's log; None writes none.
    on_epoch : callable or None
        Called with each row as soon as it is there.
    checkpoint : Checkpoint or None
        Written after each epoch. If it has the state of an earlier run, with the same other arguments, training goes on
        from there; the result is the same to the last bit.

    Returns
    -------
    list of dict
        A row for each epoch: epoch (from 1), learning_rate (of the epoch's last step), loss (with label smoothing,
        dropout and mixup) and accuracy over the epoch's training steps, and val_loss and val_accuracy (without those)
        where there is validation.

    Raises
    ------
    GraftError
        If the loss is no longer a finite number; if there are more devices than examples in a batch; if another worker
        is lost, or has other weights after an epoch.
    """
    if not settings.epochs:
        return []
    epochs, devices = int(settings.epochs), this_process()
    if settings.batch_size < devices.count:
        raise GraftError(
            f"fine_tune.batch_size: {settings.batch_size} images cannot be shared by {devices.count} devices; set a "
            "larger number, or let TensorFlow see fewer GPUs (CUDA_VISIBLE_DEVICES)"
        )
    twin = training_copy(model, settings)
    flat = FlatNetwork(twin)
    steps = math.ceil(len(examples.labels) / settings.batch_size)
    flat.compile(optimizer=_optimizer(twin, flat, settings, lr, steps * epochs))
    callbacks = _callbacks(flat, settings, validation is not None, log_folder, devices.chief)
    dropout = keras.layers.Dropout(settings.dropout, seed=seed)
    if devices.count == 1:
        step = training_step(twin, flat, settings, dropout)
    else:
        step = shared_step(twin, flat, settings, dropout, devices)
        examples = own_rows(examples, settings.batch_size, devices, rows_before(settings))
    validate = _validation(twin, flat, validation, settings.batch_size, devices)
    callbacks.on_train_begin()
    state = [*flat.trainable_variables, *flat.optimizer.variables, *dropout.variables], callbacks.callbacks
    history: list[Row] = checkpoint.restore(*state) if checkpoint else []
    if on_epoch:
        for row in history:
            on_epoch(row)
    for epoch in range(len(history), epochs):
        if flat.stop_training:
            break
        callbacks.on_epoch_begin(epoch)
        batches = shuffled_batches(examples, epoch, settings.batch_size, seed)
        row = {"epoch": epoch + 1} | _train_epoch(step, batches, mixup_weights(epoch, settings.mixup, seed))
        callbacks.on_test_begin()
        row |= validate()
        # The last step's weights may give no number where no step's loss shows it.
        _require_number(row.get("val_loss", 0.0), row["learning_rate"])
        _require_same(devices, state[0], row)
        callbacks.on_test_end()
        callbacks.on_epoch_end(epoch, dict(row))
        history.append(row)
        if checkpoint:
            checkpoint.save(*state, history)
        if on_epoch:
            on_epoch(row)
    callbacks.on_train_end()
    flat.write_back()
    model.set_weights(twin.get_weights())
    return history


def logits(
    model: keras.Model, weights: Iterable[Sequence[np.ndarray]], examples: Examples, batch_size: int = 32
) -> Iterator[np.ndarray]:
    """Yield the logits of all examples for each choice of weights: float32 array (examples, classes).

    Parameters
    ----------
    model : maps to logits, as for `train`; its own weights do not change.
    weights : each choice holds all weights of the network, as `get_weights` returns them.
    examples : read at epoch 0, in their order.
    batch_size : examples in a batch, from 1.
    """
    twin = with_fast_gradients(model)
    forward = _forward(_compiled(twin), batch_size)
    for chosen in weights:
        twin.set_weights(chosen)
        yield forward(examples)


def _optimizer(
    network: keras.Model, model: FlatNetwork, settings: params.FineTune, lr: float, steps: int
) -> keras.Optimizer:
    one_rate = settings.layer_decay == 1
    optimizer = build_optimizer(
        settings.optimizer,
        settings.momentum,
        learning_rate=learning_rate(settings.schedule, lr, steps, settings.warmup),
        weight_decay=settings.weight_decay if one_rate else 0.0,
        **ema_options(settings.ema, steps),
    )
    # Weight decay is for kernels only: He et al. 2018, arXiv 1812.01187, section 3.1.
    optimizer.exclude_from_weight_decay(var_list=[model.vectors])
    if not one_rate:
        decay_rates(optimizer, model, network, settings.layer_decay, settings.weight_decay)
    if settings.precision == FLOAT16:
        # Small gradients are 0 in float16.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def _callbacks(
    model: keras.Model, settings: params.FineTune, validated: bool, log_folder: Path | None, chief: bool
) -> keras.callbacks.CallbackList:
    # First, so that the others see and keep the averaged weights.
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.ema else []
    if log_folder:
        # Before the callback that lowers the rate: the log has the rate that the epoch used.
        log = keras.callbacks.TensorBoard(log_folder, write_graph=False) if chief else keras.callbacks.Callback()
        callbacks.append(log)
    if validated and settings.schedule == "plateau":
        callbacks.append(reduce_on_plateau("val_loss", settings.plateau_patience))
    if validated and settings.monitor:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                settings.monitor,
                patience=settings.patience or settings.epochs,
                mode="max" if settings.monitor == "val_accuracy" else "min",
                restore_best_weights=True,
            )
        )
    model.stop_training = False
    return keras.callbacks.CallbackList(callbacks, model=model, epochs=settings.epochs)


def _train_epoch(step: Step, batches: Iterator[Batch], own_weights: Iterator[np.float32]) -> Row:
    """Take a step for each batch; return the epoch's figures."""
    loss = right = count = 0.0
    # The batches come first in zip: they end, the weights do not.
    for (maps, labels, weights), own_weight in zip(batches, own_weights, strict=False):
        rate, batch_loss, batch_right = map(float, step(maps, labels, weights, own_weight))
        _require_number(batch_loss, rate)
        loss, right, count = loss + batch_loss, right + batch_right, count + float(weights.sum())
    return {"learning_rate": rate, "loss": loss / count, "accuracy": right / count}


def _require_number(loss: float, rate: float) -> None:
    if not math.isfinite(loss):
        raise GraftError(f"lr: at a learning rate of {rate:.3g} the loss is {loss}; try a smaller lr")


def _require_same(devices: Devices, variables: Iterable[keras.Variable], row: Row) -> None:
    """Check that all workers have the same weights, optimiser and figures to the last bit."""
    if not devices.workers:
        return
    digest = hashlib.sha256(json.dumps(row).encode())
    for variable in variables:
        digest.update(np.asarray(variable).tobytes())
    if found := devices.differences({"weights": digest.hexdigest()}):
        raise GraftError(
            f"TF_CONFIG: after epoch {row['epoch']} {found}; use machines of one kind, and start all workers again: "
            "they go on from the epoch before"
        )


def _validation(
    model: keras.Model, flat: FlatNetwork, validation: Examples | None, batch_size: int, devices: Devices
) -> Callable[[], Row]:
    """Return a function that returns the figures of the validation examples."""
    if validation is None:
        return dict
    if devices.count == 1:
        forward = _forward(_compiled(model), batch_size)
    else:
        forward = _forward(shared_forward(model, batch_size, devices), batch_size)
        validation = own_rows(validation, batch_size, devices)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def validate() -> Row:
        flat.write_back()
        outputs = forward(validation)
        accuracy = float(np.mean(outputs.argmax(axis=1) == validation.labels))
        return {"val_loss": float(loss_of(validation.labels, outputs)), "val_accuracy": accuracy}

    return validate


def _compiled(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from maps to logits, in inference mode."""
    return tf.function(lambda maps: model(tf.cast(maps, tf.float32), training=False), autograph=False)


def _forward(function: Callable[[tf.Tensor], tf.Tensor], batch_size: int) -> Callable[[Examples], np.ndarray]:
    """Return a function from examples to their logits, which `function` computes for each batch."""

    def forward(examples: Examples) -> np.ndarray:
        outputs = [function(maps).numpy() for maps, _, _ in ordered_batches(examples, batch_size)]
        # The last batch was filled up.
        return np.concatenate(outputs)[: len(examples.labels)]

    return forward
