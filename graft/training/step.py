"""A step of training: the gradients of a batch on one device, or on several that share it, and the update."""

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from graft.settings import params
from graft.training.batches import Examples
from graft.training.devices import Devices
from graft.training.flat_network import FlatNetwork
from graft.training.gpu import training_gpu

# From maps, labels and weights of a batch, and mixup's weight, to the rate, the summed loss and the number right.
Step = Callable[..., tuple[tf.Tensor, ...]]


def training_step(
    model: keras.Model, flat: FlatNetwork, settings: params.FineTune, dropout: keras.layers.Dropout
) -> Step:
    """Return a function that takes a step on a batch: it returns the rate, the summed loss and the number right."""
    head, optimizer, variables = model.layers[-1], flat.optimizer, flat.trainable_variables
    body = keras.Model(model.input, head.input)
    loss_of, update = _losses(settings), _compiled_update(flat)

    @tf.function(autograph=False)
    def step(maps: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, own_weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
        maps, targets = tf.cast(maps, tf.float32), tf.one_hot(labels, head.units)
        if settings.mixup:
            maps, targets, weights = (_mix_rows(values, own_weight) for values in (maps, targets, weights))
        with tf.GradientTape() as tape, flat.in_use(dropout):
            outputs = head(dropout(body(maps, training=False), training=True))
            losses = weights * loss_of(targets, outputs)
            loss = optimizer.scale_loss(tf.reduce_sum(losses) / tf.reduce_sum(weights))
        rate = tf.convert_to_tensor(optimizer.learning_rate)
        update(*tape.gradient(loss, variables))
        return rate, tf.reduce_sum(losses), tf.reduce_sum(weights * _is_right(outputs, labels))

    return step


def shared_step(
    model: keras.Model,
    flat: FlatNetwork,
    settings: params.FineTune,
    dropout: keras.layers.Dropout,
    devices: Devices,
) -> Step:
    """Return what `training_step` does, for several devices: each takes its rows of the batch.

    The gradients of all weights, the loss and the number right are one vector, which is summed over the devices. What
    is random is as on one device: the rows are mixed as in the whole batch, and each takes its rows of dropout's mask.

    Parameters
    ----------
    devices : of which this process has some. The function takes the maps that `own_rows` reads for them, but labels and
        weights of the whole batch.
    """
    head, optimizer, variables = model.layers[-1], flat.optimizer, flat.trainable_variables
    body = keras.Model(model.input, head.input)
    loss_of, update = _losses(settings), _compiled_update(flat)
    size, each, before = settings.batch_size, rows_each(settings.batch_size, devices), rows_before(settings)
    lengths = [int(variable.shape[0]) for variable in variables]

    @tf.function(autograph=False)
    def step(maps: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, own_weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
        mask = dropout(tf.ones((size, *head.input.shape[1:])), training=True)

        def gradients(number: int) -> tf.Tensor:
            start = (number - devices.first) * each
            with tf.device("CPU:0"):
                # Of a batch in the computer's memory; a GPU gets its own rows.
                own_maps = maps[start : start + each + before]
            places = np.arange(number * each - before, (number + 1) * each)
            own = places[before:]
            rows = tf.cast(own_maps, tf.float32), *(tf.gather(values, places % size) for values in (targets, weights))
            if settings.mixup:
                rows = tuple(own_weight * values[1:] + (1 - own_weight) * values[:-1] for values in rows)
            own_maps, own_targets, own_weights = rows
            # Rows beyond the batch make the shares equal. They count nothing.
            own_weights *= (own < size).astype(np.float32)
            with tf.GradientTape() as tape, flat.in_use():
                outputs = head(body(own_maps, training=False) * tf.gather(mask, own % size))
                losses = own_weights * loss_of(own_targets, outputs)
                loss = optimizer.scale_loss(tf.reduce_sum(losses) / total)
            right = own_weights * _is_right(outputs, tf.gather(labels, own % size))
            figures = tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right)])
            return tf.concat([*tape.gradient(loss, variables), figures], axis=0)

        targets = tf.one_hot(labels, head.units)
        # mixup gives weights from one row to the next: their sum does not change.
        total = tf.reduce_sum(weights)
        *summed, figures = tf.split(devices.summed(gradients), [*lengths, 2])
        rate = tf.convert_to_tensor(optimizer.learning_rate)
        update(*summed)
        return rate, *tf.unstack(figures)

    return step


def shared_forward(model: keras.Model, size: int, devices: Devices) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from the maps that `own_rows` reads to the logits of the whole batch, float32 (size, classes).

    Parameters
    ----------
    model : maps to logits.
    size : of a batch.
    devices : each computes its rows.
    """
    each = rows_each(size, devices)

    @tf.function(autograph=False)
    def forward(maps: tf.Tensor) -> tf.Tensor:
        def of_device(number: int) -> tf.Tensor:
            start = (number - devices.first) * each
            with tf.device("CPU:0"):
                own_maps = maps[start : start + each]
            outputs = model(tf.cast(own_maps, tf.float32), training=False)
            # Zeros in the rows of the others: the sum is the whole batch.
            return tf.pad(outputs, [[number * each, (devices.count - number - 1) * each], [0, 0]])

        return devices.summed(of_device)[:size]

    return forward


def own_rows(examples: Examples, size: int, devices: Devices, before: int = 0) -> Examples:
    """Return the same examples, but a batch of them has only the maps that the devices of this process need.

    Parameters
    ----------
    examples : of which `batches` makes batches of `size`.
    size : of the whole batch.
    devices : share it in equal parts; the last ones may have rows beyond its end, which repeat its first ones.
    before : how many rows before their own the devices need, 0 or 1. Before the first row of a batch comes the last.
    """
    each = rows_each(size, devices)
    places = np.arange(devices.first * each - before, (devices.first + devices.local) * each) % size
    return examples._replace(read=lambda rows, epoch: examples.read(rows[places], epoch))


def rows_each(size: int, devices: Devices) -> int:
    """Return how many rows of a batch of this size each device has."""
    return math.ceil(size / devices.count)


def rows_before(settings: params.FineTune) -> int:
    """Return how many rows before its own a device needs: mixup mixes each row with the one before it."""
    return 1 if settings.mixup else 0


def _losses(settings: params.FineTune) -> keras.losses.Loss:
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=settings.label_smoothing, reduction=None
    )


def _compiled_update(flat: FlatNetwork) -> Callable[..., None]:
    """Return a function from gradients to the optimiser's update."""

    # By XLA the update reads and writes each vector once. Not on a GPU, where that was not tried.
    @tf.function(autograph=False, jit_compile=not training_gpu())
    def update(*gradients: tf.Tensor) -> None:
        flat.optimizer.apply(gradients, flat.trainable_variables)

    return update


def _mix_rows(values: tf.Tensor, own_weight: tf.Tensor) -> tf.Tensor:
    """Return each row mixed with the row before it, the first one with the last."""
    return own_weight * values + (1 - own_weight) * tf.roll(values, 1, axis=0)


def _is_right(outputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return 1 for each row whose largest output is that of its label, else 0."""
    return tf.cast(tf.argmax(outputs, axis=-1, output_type=labels.dtype) == labels, tf.float32)
