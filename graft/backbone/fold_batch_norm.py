"""Folding batch normalisation in inference mode into the layer before it: the same function in fewer operations."""

from typing import Any

import keras
import numpy as np

from graft.backbone.clone import cloned

# The layers that a BatchNorm can be folded into, with the attribute of the kernel whose outputs it scales.
KERNELS = {
    keras.layers.Conv2D: "kernel",
    keras.layers.DepthwiseConv2D: "kernel",
    keras.layers.SeparableConv2D: "pointwise_kernel",
    keras.layers.Dense: "kernel",
}


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """Return a copy of a network in which each BatchNorm directly behind a linear layer is folded into that layer.

    In inference mode, ``norm(convolution(x))`` is one convolution with a scaled kernel and a bias (Jacob et al. 2018,
    arXiv 1712.05877, section 3.2). BatchNorms in other places, as in ResNetV2 and DenseNet, remain: call the copy with
    ``training=False``.

    Parameters
    ----------
    model : keras.Model
        A functional model; it does not change, and shares no weight with the copy.

    Returns
    -------
    keras.Model
        The same function up to rounding. The other layers keep their names; a layer with a BatchNorm folded into it has
        a bias.
    """
    norms = _foldable_norms(model)
    targets = set(norms.values())

    def clone(layer: keras.Layer) -> keras.Layer:
        return cloned(layer, use_bias=True) if layer.name in targets else cloned(layer)

    def call(layer: keras.Layer, *tensors: keras.KerasTensor, **options: Any) -> keras.KerasTensor:
        return tensors[0] if layer.name in norms else layer(*tensors, **options)

    folded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    folded.layers[0].name = model.layers[0].name
    norm_of = {target: model.get_layer(norm) for norm, target in norms.items()}
    for layer in folded.layers:
        original = model.get_layer(layer.name)
        layer.trainable = original.trainable
        norm = norm_of.get(layer.name)
        layer.set_weights(_folded_weights(original, norm) if norm else original.get_weights())
    return folded


def _foldable_norms(model: keras.Model) -> dict[str, str]:
    """Return the name of the layer that each BatchNorm can be folded into, by the BatchNorm's name."""
    writers = {id(operation.output): operation for operation in model.operations}
    readers = [id(tensor) for operation in model.operations for tensor in keras.tree.flatten(operation.input)]
    readers += [id(tensor) for tensor in keras.tree.flatten(model.output)]
    norms = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # None for the first layer of a top: no layer of the top has written its input.
            writer = writers.get(id(layer.input))
            if writer and type(writer) in KERNELS and _is_linear(writer) and readers.count(id(layer.input)) == 1:
                norms[layer.name] = writer.name
    return norms


def _is_linear(layer: keras.Layer) -> bool:
    return layer.activation is keras.activations.linear


def _folded_weights(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Return the layer's weights with the kernel scaled and the bias last, in Keras's order."""
    gamma = np.asarray(norm.gamma) if norm.scale else 1.0
    beta = np.asarray(norm.beta) if norm.center else 0.0
    scale = gamma / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    bias = np.asarray(layer.bias) if layer.use_bias else 0.0
    kernel = getattr(layer, KERNELS[type(layer)])
    # A depthwise kernel is (height, width, channels, multiplier): its outputs are the last two axes.
    outputs = kernel.shape[2:] if type(layer) is keras.layers.DepthwiseConv2D else kernel.shape[-1:]
    weights = [
        np.asarray(weight) * scale.reshape(outputs) if weight is kernel else np.asarray(weight)
        for weight in layer.weights
        if weight is not layer.bias
    ]
    return [*weights, beta + (bias - np.asarray(norm.moving_mean)) * scale]
