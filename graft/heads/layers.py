"""Heads as Keras layers: build the layers, make the initial weights, and read the trained weights back."""

from collections.abc import Callable
from itertools import pairwise

import keras
import numpy as np

from graft.heads.head import Dense, Head
from graft.settings import params
from graft.settings.initializers import initial_kernel
from graft.settings.pooling import pool_array, pool_tensor

LAST_LAYER = "head"
BLOCK_LAYERS = ("head_squeeze", "head_excite")


def head_logits(
    features: keras.KerasTensor, head: Head, dropouts: list[float] | None = None, l2: float = 0.0, seed: int = 0
) -> keras.KerasTensor:
    """Return the logits (batch, classes) of new Keras layers that have a head's weights.

    Parameters
    ----------
    features : (batch, features), or (batch, height, width, channels). A head without a block flattens feature maps.
    head : the head. Its last layer gets the name `LAST_LAYER`.
    dropouts : dropout rate before each dense layer, in training.
    l2 : L2 penalty on each kernel, in training.
    seed : of dropout.
    """
    if head.block:
        features = pool_tensor(_squeeze_and_excite(features, head.block, l2), head.pooling)
    outputs = keras.layers.Flatten(name="head_flatten")(features)
    for number, weights in enumerate(head.dense):
        if dropouts and dropouts[number]:
            outputs = keras.layers.Dropout(dropouts[number], seed=seed + number)(outputs)
        last = number == len(head.dense) - 1
        outputs = _dense(_layer_name(head, number), weights, None if last else "relu", l2)(outputs)
    return outputs


def _layer_name(head: Head, number: int) -> str:
    return LAST_LAYER if number == len(head.dense) - 1 else f"head_dense_{number + 1}"


def _squeeze_and_excite(maps: keras.KerasTensor, block: tuple[Dense, ...], l2: float) -> keras.KerasTensor:
    weights = keras.layers.GlobalAveragePooling2D(name="head_means")(maps)
    for name, layer, activation in zip(BLOCK_LAYERS, block, ("relu", "sigmoid"), strict=True):
        weights = _dense(name, layer, activation, l2)(weights)
    weights = keras.layers.Reshape((1, 1, maps.shape[-1]), name="head_weights")(weights)
    return keras.layers.Multiply(name="head_scaled")([maps, weights])


def _dense(
    name: str, weights: Dense, activation: str | None, l2: float
) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """Return a function that calls a new Dense layer with these weights."""
    layer = keras.layers.Dense(
        len(weights[1]), activation, kernel_regularizer=keras.regularizers.L2(l2) if l2 else None, name=name
    )

    def call(inputs: keras.KerasTensor) -> keras.KerasTensor:
        outputs = layer(inputs)
        layer.set_weights(weights)
        return outputs

    return call


def initial_head(shape: tuple[int, ...], classes: int, settings: params.Head, seed: int) -> Head:
    """Return an untrained head with random kernels and zero biases.

    Parameters
    ----------
    shape : of one image's features: (features,) or (height, width, channels). `se` needs the second.
    classes : number of logits.
    settings : `head` of params.yaml.
    seed : of the kernels.
    """
    seeds = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Dense:
        kernel = initial_kernel(settings.initializer, inputs, outputs, int(seeds.integers(2**31)))
        return kernel, np.zeros(outputs, np.float32)

    block: tuple[Dense, ...] = ()
    pooling = settings.pooling if settings.kind == "se" else "none"
    if settings.kind == "se":
        bottleneck = max(1, shape[-1] // settings.ratio)
        block = (layer(shape[-1], bottleneck), layer(bottleneck, shape[-1]))
    inputs = pool_array(np.zeros((1, *shape), np.float32), pooling).size
    widths = [inputs, *settings.widths, classes]
    dense = tuple(layer(*ends) for ends in pairwise(widths))
    return Head(settings.kind, dense, block, pooling)


def trained_head(model: keras.Model, head: Head) -> Head:
    """Return a head like `head`, with the weights that its layers in `model` have now."""

    def weights(name: str) -> Dense:
        kernel, bias = model.get_layer(name).get_weights()
        return kernel, bias

    dense = tuple(weights(_layer_name(head, number)) for number in range(len(head.dense)))
    return Head(head.kind, dense, tuple(weights(name) for name in BLOCK_LAYERS[: len(head.block)]), head.pooling)
