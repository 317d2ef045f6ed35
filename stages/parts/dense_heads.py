"""Heads as Keras layers, and the training of those that have hidden layers."""

import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from stages.parts import params
from stages.parts.errors import GraftError
from stages.parts.heads import POOLINGS as ARRAY_POOLINGS
from stages.parts.heads import Dense, Head
from stages.parts.optimizers import OPTIMIZERS, averaging
from stages.parts.pooling import POOLINGS
from stages.parts.schedules import SCHEDULES, plateau

LAST_LAYER = "head"
CROSS_ENTROPY = "cross_entropy"
BLOCK_LAYERS = ("head_squeeze", "head_excite")

INITIALIZERS: dict[str, Callable[..., keras.Initializer]] = {
    "glorot_normal": keras.initializers.GlorotNormal,
    "glorot_uniform": keras.initializers.GlorotUniform,
    "he_normal": keras.initializers.HeNormal,
    "he_uniform": keras.initializers.HeUniform,
    "lecun_normal": keras.initializers.LecunNormal,
    "random_normal": keras.initializers.RandomNormal,
    "truncated_normal": keras.initializers.TruncatedNormal,
}


class Batches(keras.utils.PyDataset):
    """Features and labels, a batch at a time.

    Parameters
    ----------
    read : callable
        ``read(rows, epoch)`` returns the features of some examples, float32 (rows, ...). `rows` is an int64 array of
        indices into `labels`, `epoch` counts from 0 and says which view is wanted.
    labels : int array (examples,).
    size : examples in a batch, from 1; the last batch of an epoch may have fewer.
    seed : of the examples' order, another one in each epoch; None keeps them in order, and in epoch 0.
    """

    def __init__(self, read: Callable[[np.ndarray, int], np.ndarray], labels: np.ndarray, size: int, seed: int | None):
        super().__init__()
        self._read, self._labels, self._size, self._seed = read, labels, size, seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Go to an epoch, from 0. (Keras's own notice, `on_epoch_end`, comes once too often in some versions.)"""
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


def attached(
    features: keras.KerasTensor, head: Head, dropouts: list[float] | None = None, l2: float = 0.0, seed: int = 0
) -> keras.KerasTensor:
    """Return a head's logits (batch, classes) of features or of a feature map, by Keras layers with its weights.

    Parameters
    ----------
    features : (batch, features), or (batch, height, width, channels), which a head without a block takes flattened.
    head : the last of its layers is called `LAST_LAYER`.
    dropouts : share dropped before each dense layer, in training.
    l2 : penalty on each kernel, in training.
    seed : of what is dropped.
    """
    if head.block:
        features = POOLINGS[head.pooling](_weighed(features, head.block, l2))
    outputs = keras.layers.Flatten()(features)
    for number, weights in enumerate(head.dense):
        if dropouts and dropouts[number]:
            outputs = keras.layers.Dropout(dropouts[number], seed=seed + number)(outputs)
        last = number == len(head.dense) - 1
        outputs = _dense(_layer_name(head, number), weights, None if last else "relu", l2)(outputs)
    return outputs


def _layer_name(head: Head, number: int) -> str:
    return LAST_LAYER if number == len(head.dense) - 1 else f"head_dense_{number + 1}"


def _weighed(maps: keras.KerasTensor, block: tuple[Dense, ...], l2: float) -> keras.KerasTensor:
    weights = keras.layers.GlobalAveragePooling2D(name="head_means")(maps)
    for name, layer, activation in zip(BLOCK_LAYERS, block, ("relu", "sigmoid"), strict=True):
        weights = _dense(name, layer, activation, l2)(weights)
    weights = keras.layers.Reshape((1, 1, maps.shape[-1]), name="head_weights")(weights)
    return keras.layers.Multiply(name="head_weighed")([maps, weights])


def _dense(name: str, weights: Dense, activation: str | None, l2: float) -> Callable:
    """Return a function that makes a Dense layer of those weights and calls it."""
    layer = keras.layers.Dense(
        len(weights[1]), activation, kernel_regularizer=keras.regularizers.L2(l2) if l2 else None, name=name
    )

    def call(inputs: keras.KerasTensor) -> keras.KerasTensor:
        outputs = layer(inputs)
        layer.set_weights(weights)
        return outputs

    return call


def drawn(shape: tuple[int, ...], classes: int, settings: params.Head, seed: int) -> Head:
    """Return an untrained head, its kernels drawn at random and its biases 0.

    Parameters
    ----------
    shape : of one image's features: (features,) or (height, width, channels), which `se` needs.
    classes : how many logits.
    settings : `head` of params.yaml.
    seed : of the kernels.
    """
    seeds = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Dense:
        initializer = INITIALIZERS[settings.initializer](seed=int(seeds.integers(2**31)))
        return np.asarray(initializer((inputs, outputs))), np.zeros(outputs, np.float32)

    block: tuple[Dense, ...] = ()
    pooling = settings.pooling if settings.kind == "se" else "none"
    if settings.kind == "se":
        bottleneck = max(1, shape[-1] // settings.ratio)
        block = (layer(shape[-1], bottleneck), layer(bottleneck, shape[-1]))
    inputs = ARRAY_POOLINGS[pooling](np.zeros((1, *shape), np.float32)).size
    widths = [inputs, *settings.widths, classes]
    dense = tuple(layer(*ends) for ends in zip(widths[:-1], widths[1:], strict=True))
    return Head(settings.kind, dense, block, pooling)


def fit(
    start: Head,
    shape: tuple[int, ...],
    train: Batches,
    validation: Batches,
    settings: params.Head,
    seed: int,
    log_folder: Path | None = None,
) -> tuple[Head, int]:
    """Train a head with Keras, with a progress bar; the same arguments give the same weights to the last bit.

    Parameters
    ----------
    start : what to start from.
    shape : of one image's features, as for `drawn`.
    train, validation : the cross-entropy on validation says which epoch's weights are kept, and when to stop.
    settings : `head` of params.yaml.
    seed : of dropout.
    log_folder : where TensorBoard's log goes; None writes none.

    Returns
    -------
    The trained head, and the epoch, from 1, that its weights are of.

    Raises
    ------
    GraftError
        If the loss is no longer a finite number.
    """
    features = keras.Input(shape)
    model = keras.Model(features, attached(features, start, settings.dropouts, settings.l2, seed))
    classes = model.output.shape[-1]
    model.compile(
        _optimizer(settings, len(train) * settings.epochs),
        _smoothed_cross_entropy(classes, settings.label_smoothing),
        # Beside the loss, which holds the L2 penalty.
        metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name=CROSS_ENTROPY), "accuracy"],
        jit_compile=False,
    )
    best = keras.callbacks.EarlyStopping(
        f"val_{CROSS_ENTROPY}", patience=settings.patience or settings.epochs, mode="min", restore_best_weights=True
    )
    with tqdm(total=settings.epochs, desc="epochs", unit="", leave=False, disable=None) as bar:
        told = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, _: train.start(epoch), on_epoch_end=lambda *_: bar.update()
        )
        history = model.fit(
            train,
            validation_data=validation,
            epochs=settings.epochs,
            shuffle=False,
            callbacks=[told, *_callbacks(settings, log_folder), best],
            verbose=0,
        ).history
    if not np.isfinite(history["loss"]).all():
        found = history["loss"][-1]
        raise GraftError(f"head.lr: at a learning rate of {settings.lr:g} the loss is {found}; try a smaller one")
    return _read_back(model, start), best.best_epoch + 1


def _optimizer(settings: params.Head, steps: int) -> keras.Optimizer:
    rate = SCHEDULES[settings.schedule](settings.lr, steps, settings.warmup)
    averaged = averaging(settings.average, steps)
    return OPTIMIZERS[settings.optimizer](momentum=settings.momentum, learning_rate=rate, **averaged)


def _callbacks(settings: params.Head, log_folder: Path | None) -> list[keras.callbacks.Callback]:
    """Return what else happens between epochs, in the order in which it must."""
    # Averages come first: the others see, and keep, the weights that they judge.
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.average else []
    callbacks.append(keras.callbacks.TerminateOnNaN())
    if log_folder:
        # Before what lowers the rate: it logs the one that was used.
        callbacks.append(keras.callbacks.TensorBoard(log_folder, write_graph=False))
    if settings.schedule == "plateau":
        callbacks.append(plateau(f"val_{CROSS_ENTROPY}", settings.plateau_patience))
    return callbacks


def _smoothed_cross_entropy(classes: int, label_smoothing: float) -> Callable[..., keras.KerasTensor]:
    """Return the loss of class indices and logits; Keras smooths labels only where they are one-hot."""
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    # Keras hands labels on as float32.
    return lambda labels, logits: loss(keras.ops.one_hot(keras.ops.cast(labels, "int32"), classes), logits)


def _read_back(model: keras.Model, head: Head) -> Head:
    """Return the head with the weights that its layers in `model` have now."""

    def weights(name: str) -> Dense:
        kernel, bias = model.get_layer(name).get_weights()
        return kernel, bias

    dense = tuple(weights(_layer_name(head, number)) for number in range(len(head.dense)))
    return Head(head.kind, dense, tuple(weights(name) for name in BLOCK_LAYERS[: len(head.block)]), head.pooling)
