"""The same layers in forms that TensorFlow's CPU kernels differentiate faster: benchmarks/training_step.py measures."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from graft.training.precision import BFLOAT16, FLOAT32

# TensorFlow's gradient for a depthwise kernel costs the same however small the map: up to this many places in it,
# products of small matrices, one for each channel, are six times as fast; at 7 x 7 a step takes as long with them.
SMALL_MAP = 16
# oneDNN has a fast gradient for depthwise kernels of up to this many columns, several times as fast as TensorFlow's
# own; for wider ones it is slower than that.
NARROW_KERNEL = 3


class _MatrixProduct(keras.layers.Conv2D):
    """A 1x1 convolution as one matrix product: with its bias a seventh to a third faster."""

    def call(self, inputs):
        height, width, channels = inputs.shape[1:]
        rows = tf.reshape(inputs, (-1, channels))  # (batch * height * width, channels)
        outputs = tf.matmul(rows, tf.reshape(self.kernel, (channels, self.filters)))
        outputs = _biased(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs
        return self.activation(tf.reshape(outputs, (-1, height, width, self.filters)))


class _SmallDepthwise(keras.layers.DepthwiseConv2D):
    """A depthwise convolution of a small map: for each channel, a matrix from all places of it to all of the output."""

    def call(self, inputs):
        height, width, channels = inputs.shape[1:]
        links, (rows, columns) = _links((height, width), self.kernel_size, self.strides)
        kernel = tf.reshape(self.kernel, (-1, channels))
        # (channels, kernel's places) x (kernel's places, outputs * inputs) -> (channels, outputs, inputs)
        matrices = tf.matmul(kernel, links, transpose_a=True)
        matrices = tf.reshape(matrices, (channels, rows * columns, height * width))
        by_channel = tf.transpose(tf.reshape(inputs, (-1, height * width, channels)), (2, 1, 0))
        outputs = tf.transpose(tf.matmul(matrices, by_channel), (2, 1, 0))  # (batch, outputs, channels)
        outputs = tf.reshape(outputs, (-1, rows, columns, channels))
        outputs = _biased(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs
        return self.activation(outputs)


class _Depthwise(keras.layers.DepthwiseConv2D):
    """A depthwise convolution of a larger map; only the gradients of its bias and of a wide kernel differ."""

    def call(self, inputs):
        strides, padding = (1, *self.strides, 1), self.padding.upper()
        kernel = tf.convert_to_tensor(self.kernel)
        convolved = tf.nn.depthwise_conv2d if self.kernel_size[1] <= NARROW_KERNEL else _with_wide_kernel
        outputs = convolved(inputs, kernel, strides, padding)
        return self.activation(_biased(outputs, tf.convert_to_tensor(self.bias)))


def _with_wide_kernel(inputs, kernel, strides, padding):
    """Return a depthwise convolution whose kernel's gradient is not oneDNN's for wide kernels."""

    @tf.custom_gradient
    def convolved(inputs, kernel):
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, padding)

        def gradient(upstream):
            to_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, padding=padding
            )
            rows, columns = kernel.shape[:2]
            centred = padding == "SAME" and rows % 2 and columns % 2 and columns // 2 < inputs.shape[2]
            if centred and strides[1:3] == (1, 1):
                return to_inputs, _by_columns(inputs, upstream, rows, columns)
            # oneDNN takes no padding in numbers, which keeps it out.
            margins = _margins(inputs.shape[1:3], (rows, columns), strides[1:3], outputs.shape[1:3])
            to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=strides,
                padding="EXPLICIT",
                explicit_paddings=margins,
            )
            return to_inputs, to_kernel

        return outputs, gradient

    return convolved(inputs, kernel)


def _by_columns(inputs, upstream, rows, columns):
    """Return the gradient of the kernel, both sides odd, of a "same" convolution without strides.

    Its middle columns are oneDNN's gradient of a narrow kernel, and each other column that of a kernel of one column.
    """
    middle = _narrow(inputs, upstream, rows, NARROW_KERNEL)
    distances = range(NARROW_KERNEL // 2 + 1, columns // 2 + 1)
    right = [_column(inputs, upstream, rows, distance) for distance in distances]
    # What is to the left of an output has that output to its right.
    left = [tf.reverse(_column(upstream, inputs, rows, distance), [0]) for distance in reversed(distances)]
    return tf.concat([*left, middle, *right], axis=1)


def _column(inputs, upstream, rows, distance):
    """Return the gradient of the kernel's column so many places to the right of its middle."""
    height, width, channels = inputs.shape[1:]
    # All images but the last, moved left by stepping over the first places. That is a part of the same memory; a slice
    # of each row would be a copy, which takes longer than the gradient. But a row now ends with the next one's start,
    places = tf.reshape(inputs, (-1, channels))[distance : distance - height * width]
    moved, seen = tf.reshape(places, (-1, height, width, channels)), upstream[:-1]
    # which is taken off again.
    wrapped = _narrow(moved[:, :, -distance:], seen[:, :, -distance:], rows, 1)
    last = _narrow(inputs[-1:, :, distance:], upstream[-1:, :, :-distance], rows, 1)
    return _narrow(moved, seen, rows, 1) - wrapped + last


def _narrow(inputs, upstream, rows, columns):
    """Return oneDNN's gradient of a narrow kernel of a "same" depthwise convolution without strides."""
    return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=inputs,
        filter_sizes=(rows, columns, inputs.shape[-1], 1),
        out_backprop=upstream,
        strides=(1, 1, 1, 1),
        padding="SAME",
    )


def _margins(*sides: Iterable[int]) -> list[int]:
    """Return the padding of a convolution in the form of TensorFlow's `explicit_paddings`.

    Parameters
    ----------
    sides : height and width of the input, the kernel, the strides and the output.
    """
    margins = [0, 0]
    for size, kernel, stride, output in zip(*sides, strict=True):
        both = max(0, (output - 1) * stride + kernel - size)
        margins += [both // 2, both - both // 2]
    return [*margins, 0, 0]


@tf.custom_gradient
def _biased(outputs, bias):
    """Return `outputs` plus `bias`; its gradient is a sum, which a product with ones computes faster."""

    def gradient(upstream):
        rows = tf.reshape(upstream, (-1, upstream.shape[-1]))
        ones = tf.ones((1, tf.shape(rows)[0]), rows.dtype)
        return upstream, tf.reshape(tf.matmul(ones, rows), (-1,))

    return tf.nn.bias_add(outputs, bias), gradient


def _links(
    inputs: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return which place of a kernel links each output of a "same" convolution to each input, and the output's shape.

    The first is float32 (kernel's places, outputs * inputs), 1 where it does and 0 elsewhere.
    """
    outputs = tuple(-(-size // stride) for size, stride in zip(inputs, strides, strict=True))
    first = [max(0, (o - 1) * s + k - i) // 2 for o, s, k, i in zip(outputs, strides, kernel, inputs, strict=True)]
    to_y, to_x, from_y, from_x = np.ogrid[: outputs[0], : outputs[1], : inputs[0], : inputs[1]]
    down = from_y - to_y * strides[0] + first[0]
    right = from_x - to_x * strides[1] + first[1]
    place = np.where((right >= 0) & (right < kernel[1]), down * kernel[1] + right, -1)
    return (np.arange(kernel[0] * kernel[1])[:, np.newaxis] == place.ravel()).astype(np.float32), outputs


def with_fast_gradients(model: keras.Model, precision: str = FLOAT32) -> keras.Model:
    """Return a copy of a network whose 1x1 and depthwise convolutions are faster to differentiate.

    Parameters
    ----------
    model : keras.Model
        A functional model; it stays as it is and shares no weight with the copy.
    precision : ``float32`` or ``bfloat16``
        What the 1x1 convolutions and their gradients are computed in. Weights, sums and all else are float32.

    Returns
    -------
    keras.Model
        The same function up to rounding, with the same weights in the same order and the same layers trainable.
        Only convolutions of a map of known size, channels last, are changed.
    """

    def clone(layer):
        kind = next((kind for applies, kind in FASTER if applies(layer)), type(layer))
        # Not so depthwise ones: TensorFlow's gradients of them in bfloat16 take five times as long.
        lower = {"dtype": "mixed_bfloat16"} if kind is _MatrixProduct and precision == BFLOAT16 else {}
        return kind.from_config(layer.get_config() | lower)

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    return twin


def _is_pointwise(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)
        and _has_known_size(layer)
    )


def _is_small_depthwise(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and (layer.padding, layer.dilation_rate, layer.depth_multiplier) == ("same", (1, 1), 1)
        and _has_known_size(layer)
        and layer.input.shape[1] * layer.input.shape[2] <= SMALL_MAP
    )


def _is_biased_depthwise(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and (layer.use_bias, layer.dilation_rate) == (True, (1, 1))
        # TensorFlow's kernel knows no two strides.
        and layer.strides[0] == layer.strides[1]
        and _has_known_size(layer)
    )


def _has_known_size(layer: keras.Layer) -> bool:
    return layer.data_format == "channels_last" and None not in layer.input.shape[1:]


FASTER = (
    (_is_pointwise, _MatrixProduct),
    (_is_small_depthwise, _SmallDepthwise),
    (_is_biased_depthwise, _Depthwise),
)
