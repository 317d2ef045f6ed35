"""Reads checkpoints of TF-slim: variables of VGG16, InceptionV3 and MobileNetV2 by their names there.

The names are those of tensorflow/models, research/slim/nets: vgg.py, inception_v3.py, mobilenet/mobilenet_v2.py. A
checkpoint is one file (format V1, vgg_16.ckpt) or some files of one prefix (V2: .index and .data-00000-of-00001).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from graft.settings.resolved import CHECKPOINT_PART

AVERAGE = "/ExponentialMovingAverage"
# Other variables that training leaves: the state of optimisers, the second classifier of Inception, VGG's mean colour.
NOT_READ = re.compile(r"(^|/)(AuxLogits/|global_step$|mean_rgb$|(Momentum|RMSProp(_1)?|Adam(_1)?|Adagrad)$)")
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

# For each Keras layer that has weights: the slim variables of its weights, in Keras's order.
Names = dict[str, list[str]]


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a path names a checkpoint: it has ``.ckpt`` in its name."""
    return ".ckpt" in Path(path).name


def load(model: keras.Model, path: str | Path) -> None:
    """Set the weights of a model to those of a checkpoint; the mean over training steps of each where there is one.

    Parameters
    ----------
    model : a VGG16, InceptionV3 or MobileNetV2 of any width as `architectures` builds it, with or without top.
    path : of a checkpoint: what the names of its files begin with, one of these files, or the one file of format V1.

    Raises
    ------
    ValueError
        If the model is another network, or the checkpoint lacks a variable or has another one or another shape. Other
        errors are TensorFlow's: the checkpoint is damaged, or it is none.
    """
    layers = [layer.name for layer in model.layers if layer.weights]
    names = _names(model.name, layers)
    top = layers[-1] if layers[-1] == "predictions" else None
    reader = tf.train.load_checkpoint(CHECKPOINT_PART.sub("", str(path)))
    shapes = reader.get_variable_to_shape_map()
    _require_same_variables(names, shapes, bool(top))
    for layer, variables in names.items():
        values = [_value(reader, shapes, variable) for variable in variables]
        model.get_layer(layer).set_weights(_in_keras_form(model.get_layer(layer), values, variables))


def _names(network: str, layers: list[str]) -> Names:
    for begin, names in NAMES.items():
        if re.fullmatch(begin, network):
            return names(layers)
    raise ValueError(f"a checkpoint of TF-slim is read for VGG16, InceptionV3 and MobileNetV2, not for {network}")


def _vgg16(layers: list[str]) -> Names:
    def scope(layer: str) -> str:
        if block := re.fullmatch(r"block(\d)_conv(\d)", layer):
            return f"conv{block[1]}/conv{block[1]}_{block[2]}"
        return {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}[layer]

    return {layer: [f"vgg_16/{scope(layer)}/{part}" for part in ("weights", "biases")] for layer in layers}


def _mobilenet_v2(layers: list[str]) -> Names:
    names = {}
    for layer in layers:
        if layer == "predictions":
            names[layer] = [f"MobilenetV2/Logits/Conv2d_1c_1x1/{part}" for part in ("weights", "biases")]
            continue
        # bn_Conv1, block_3_expand_BN and Conv_1_bn stand behind Conv1, block_3_expand and Conv_1.
        is_norm = "bn" in layer.lower()
        convolution = re.sub(r"^bn_|_bn$", "", layer, flags=re.IGNORECASE)
        block, _, part = convolution.rpartition("_")
        if convolution in ("Conv1", "Conv_1"):
            scope = {"Conv1": "Conv", "Conv_1": "Conv_1"}[convolution]
        else:
            scope = f"{block.replace('block', 'expanded_conv')}/{part}"
        kernel = "depthwise_weights" if scope.endswith("/depthwise") else "weights"
        names[layer] = [f"MobilenetV2/{scope}/BatchNorm/{norm}" for norm in BATCH_NORM] if is_norm else [
            f"MobilenetV2/{scope}/{kernel}"
        ]  # fmt: skip
    return names


def _inception_v3(layers: list[str]) -> Names:
    """Keras numbers its convolutions in the order in which slim names them."""
    names = {}
    for number, scope in enumerate(_inception_scopes()):
        suffix = f"_{number}" if number else ""
        names[f"conv2d{suffix}"] = [f"InceptionV3/{scope}/weights"]
        # No gamma: ReLU follows, and the next convolution can take any scale.
        names[f"batch_normalization{suffix}"] = [f"InceptionV3/{scope}/BatchNorm/{part}" for part in BATCH_NORM[1:]]
    if "predictions" in layers:
        names["predictions"] = [f"InceptionV3/Logits/Conv2d_1c_1x1/{part}" for part in ("weights", "biases")]
    return names


def _inception_scopes() -> Iterator[str]:
    """Yield the scopes of the convolutions of inception_v3.py in order."""
    yield from (f"Conv2d_{part}" for part in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"))
    for block, branches in INCEPTION_BLOCKS:
        for branch in branches:
            number, *convolutions = branch.split()
            for convolution in convolutions:
                # One name of slim's has a slip: Conv_1_0c_5x5.
                begin = "Conv" if convolution.startswith("_1") else "Conv2d_"
                yield f"Mixed_{block}/Branch_{number}/{begin}{convolution}"


_SEVEN = ["0 0a_1x1", "1 0a_1x1 0b_1x7 0c_7x1", "2 0a_1x1 0b_7x1 0c_1x7 0d_7x1 0e_1x7", "3 0b_1x1"]
# Of each block: a branch's number and the ends of its scopes' names.
INCEPTION_BLOCKS = (
    ("5b", ["0 0a_1x1", "1 0a_1x1 0b_5x5", "2 0a_1x1 0b_3x3 0c_3x3", "3 0b_1x1"]),
    ("5c", ["0 0a_1x1", "1 0b_1x1 _1_0c_5x5", "2 0a_1x1 0b_3x3 0c_3x3", "3 0b_1x1"]),
    ("5d", ["0 0a_1x1", "1 0a_1x1 0b_5x5", "2 0a_1x1 0b_3x3 0c_3x3", "3 0b_1x1"]),
    ("6a", ["0 1a_1x1", "1 0a_1x1 0b_3x3 1a_1x1"]),
    *((block, _SEVEN) for block in ("6b", "6c", "6d", "6e")),
    ("7a", ["0 0a_1x1 1a_3x3", "1 0a_1x1 0b_1x7 0c_7x1 1a_3x3"]),
    ("7b", ["0 0a_1x1", "1 0a_1x1 0b_1x3 0b_3x1", "2 0a_1x1 0b_3x3 0c_1x3 0d_3x1", "3 0b_1x1"]),
    ("7c", ["0 0a_1x1", "1 0a_1x1 0b_1x3 0c_3x1", "2 0a_1x1 0b_3x3 0c_1x3 0d_3x1", "3 0b_1x1"]),
)
# What gives the names of a network's variables, by a pattern of the network's name.
NAMES = {"VGG16": _vgg16, "InceptionV3": _inception_v3, r"MobileNetV2(_\d+)?": _mobilenet_v2}


def _require_same_variables(names: Names, shapes: Mapping[str, list[int]], with_top: bool) -> None:
    wanted = {variable for variables in names.values() for variable in variables}
    found = {name.removesuffix(AVERAGE) for name in shapes if not NOT_READ.search(name)}
    if missing := sorted(wanted - found):
        raise ValueError(f"{len(missing)} of {len(wanted)} variables are missing, as {missing[0]}")
    top = re.compile(r"/(Logits|fc[678])/")
    if others := sorted(name for name in found - wanted if with_top or not top.search(name)):
        raise ValueError(f"{len(others)} of its variables are not in this network, as {others[0]}")


def _value(reader: Any, shapes: Mapping[str, list[int]], variable: str) -> np.ndarray:
    average = variable + AVERAGE
    return reader.get_tensor(average if average in shapes else variable)


def _in_keras_form(layer: keras.Layer, values: list[np.ndarray], variables: list[str]) -> list[np.ndarray]:
    """Return a layer's weights in the form that Keras has for them.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    if layer.name == "block1_conv1":
        # slim gives VGG16 red, green and blue; Keras blue, green and red, as in the network's training.
        values = [values[0][:, :, ::-1], values[1]]
    if isinstance(layer, keras.layers.Dense):
        # slim's dense layers are convolutions: (height, width, inputs, outputs).
        values = [values[0].reshape(-1, values[0].shape[-1]), values[1]]
        if layer.name == "predictions" and values[1].shape == (1001,):
            # The first of 1,001 classes is "none of these". Without it, softmax gives the shares of the other classes.
            values = [value[..., 1:] for value in values]
    for value, weight, variable in zip(values, layer.weights, variables, strict=True):
        if value.shape != tuple(weight.shape):
            raise ValueError(f"{variable} has shape {value.shape} where {tuple(weight.shape)} is needed")
    return values
