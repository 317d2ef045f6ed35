"""Convolutions in other forms, whose gradients TensorFlow computes faster on a CPU; and GELU, in less memory.

Each form gives the outputs and gradients of Keras's layer, up to rounding. benchmarks/training_step.py measures what
each is worth.
"""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from graft.backbone.clone import cloned
from graft.training.precision import BFLOAT16, FLOAT32

# TensorFlow takes as long for the gradient of a depthwise kernel on a small map as on a larger one. On maps of up to
# this many places (height x width), a small matrix product for each channel is six times as fast. At 7 x 7 there is no
# difference.
SMALL_MAP = 16
# For depthwise kernels of up to this many columns, oneDNN's gradient of the kernel is several times as fast as
# TensorFlow's own. For wider kernels it is slower. (A sum of narrow kernels' gradients instead made whole steps 0.6 to
# 2.5 % faster, which was not worth its code.)
NARROW_KERNEL = 3
SQRT_HALF = 0.5**0.5

Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]


class _MatrixProduct(keras.layers.Conv2D):
    """A 1x1 convolution as one matrix product. With a bias, it takes a seventh to a third less time."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        height, width, channels = inputs.shape[1:]
        kernel = tf.reshape(self.kernel, (channels, self.filters))  # (1, 1, channels, filters) before
        outputs = tf.matmul(tf.reshape(inputs, (-1, channels)), kernel)  # (batch * height * width, filters)
        outputs = _add_bias(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs
        return self.activation(tf.reshape(outputs, (-1, height, width, self.filters)))


class DepthwiseByMatrices(keras.layers.DepthwiseConv2D):
    """A depthwise convolution as a matrix product for each channel: fast for a small map, and deterministic on a GPU.

    A channel's matrix (outputs, inputs) has the kernel's value for each pair of an output place and an input place, and
    0 where the kernel does not reach from one to the other.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the convolved maps."""
        height, width, channels = inputs.shape[1:]
        places, (rows, columns) = _kernel_places((height, width), self.kernel_size, self.strides)
        # "kernel", "inputs" and "outputs" in these shapes: how many places (height x width) each has.
        kernel = tf.reshape(self.kernel, (-1, channels))  # (kernel, channels)
        # In mixed precision the kernel is not float32.
        matrices = tf.matmul(kernel, tf.cast(places, kernel.dtype), transpose_a=True)  # (channels, outputs * inputs)
        matrices = tf.reshape(matrices, (channels, rows * columns, height * width))  # (channels, outputs, inputs)
        maps = tf.reshape(inputs, (-1, height * width, channels))  # (batch, inputs, channels)
        outputs = tf.matmul(matrices, tf.transpose(maps, (2, 1, 0)))  # (channels, outputs, batch)
        outputs = tf.reshape(tf.transpose(outputs, (2, 1, 0)), (-1, rows, columns, channels))
        outputs = _add_bias(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs
        return self.activation(outputs)


class _Depthwise(keras.layers.DepthwiseConv2D):
    """A depthwise convolution of a larger map: the gradients of its bias and of a wide kernel are computed faster."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        strides, padding = (1, *self.strides, 1), self.padding.upper()
        kernel = tf.convert_to_tensor(self.kernel)
        convolve = tf.nn.depthwise_conv2d if self.kernel_size[1] <= NARROW_KERNEL else _convolve_wide
        outputs = convolve(inputs, kernel, strides, padding)
        return self.activation(_add_bias(outputs, tf.convert_to_tensor(self.bias)))


def _convolve_wide(inputs: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int, int, int], padding: str) -> tf.Tensor:
    """Return a depthwise convolution with a wide kernel, without oneDNN's slow gradient of that kernel."""

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, padding)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            to_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, padding=padding
            )
            # oneDNN does not take explicit paddings, so that TensorFlow's own gradient is used.
            paddings = _explicit_paddings(inputs.shape[1:3], kernel.shape[:2], strides[1:3], outputs.shape[1:3])
            to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=strides,
                padding="EXPLICIT",
                explicit_paddings=paddings,
            )
            return to_inputs, to_kernel

        return outputs, gradient

    return convolve(inputs, kernel)


def _explicit_paddings(*sides: Iterable[int]) -> list[int]:
    """Return the padding "same" or "valid" of a convolution in numbers: before and after, for each of four axes.

    Parameters
    ----------
    sides : height and width of the input, the kernel, the strides and the output.
    """
    paddings = [0, 0]
    for size, kernel, stride, output in zip(*sides, strict=True):
        both = max(0, (output - 1) * stride + kernel - size)
        paddings += [both // 2, both - both // 2]
    return [*paddings, 0, 0]


@tf.custom_gradient
def _add_bias(outputs: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return outputs (..., channels) plus a bias (channels,), whose gradient is computed as a matrix product."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # The gradient of the bias is a sum over all places. Multiplying with ones takes less time than `reduce_sum`.
        rows = tf.reshape(upstream, (-1, upstream.shape[-1]))  # (places, channels)
        ones = tf.ones((1, tf.shape(rows)[0]), rows.dtype)  # (1, places)
        return upstream, tf.reshape(tf.matmul(ones, rows), (-1,))

    return tf.nn.bias_add(outputs, bias), gradient


@tf.custom_gradient
def _gelu(inputs: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return Keras's exact GELU, `inputs` times the normal distribution's share below them.

    Between its output and its gradient the inputs alone are kept. TensorFlow keeps three tensors of their size: in the
    blocks of a transformer, a quarter of all that is kept.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # Not the operations below: TensorFlow would compute them once, and keep the result.
        share = 0.5 + 0.5 * tf.math.erf(SQRT_HALF * inputs)
        density = tf.exp(-0.5 * tf.square(inputs)) * (SQRT_HALF / np.sqrt(np.pi))
        return upstream * (share + inputs * density)

    return 0.5 * inputs * tf.math.erfc(-SQRT_HALF * inputs), gradient


def _kernel_places(
    inputs: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return where the kernel of a convolution, padding "same", lies between each output and each input.

    Parameters
    ----------
    inputs, kernel, strides : height and width of each.

    Returns
    -------
    places : float32 array (kernel, outputs * inputs), each by its number of places. In each column there is a 1 for the
        place of the kernel that this input has for this output; there is none where the input is out of its reach.
    outputs : height and width of the output.
    """
    outputs = (-(-inputs[0] // strides[0]), -(-inputs[1] // strides[1]))
    _, _, top, _, left, *_ = _explicit_paddings(inputs, kernel, strides, outputs)
    to_y, to_x, from_y, from_x = np.ogrid[: outputs[0], : outputs[1], : inputs[0], : inputs[1]]
    # Row and column of the kernel, arrays over (output y, output x, input y, input x).
    row = from_y - to_y * strides[0] + top
    column = from_x - to_x * strides[1] + left
    # A row out of range needs no mark: it gives a number that no place of the kernel has.
    number = np.where((column >= 0) & (column < kernel[1]), row * kernel[1] + column, -1)
    return (np.arange(kernel[0] * kernel[1])[:, np.newaxis] == number.ravel()).astype(np.float32), outputs


def with_fast_gradients(model: keras.Model, precision: str = FLOAT32) -> keras.Model:
    """Return a copy of a network whose 1x1 and depthwise convolutions have faster gradients.

    Parameters
    ----------
    model : keras.Model
        A functional model; it does not change, and shares no weight with the copy.
    precision : ``float32`` or ``bfloat16``
        The number format of the products in 1x1 convolutions and their gradients. Weights, sums and all other values
        are float32.

    Returns
    -------
    keras.Model
        The same function up to rounding, with the same weights in the same order and the same layers trainable. Only
        convolutions of maps of known size, channels last, and GELU have another form.
    """

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = next((kind for applies, kind in FORMS if applies(layer)), None)
        if kind is None:
            return cloned(layer)
        # Not for depthwise convolutions: TensorFlow's gradients of those in bfloat16 take five times as long.
        lower = {"dtype": "mixed_bfloat16"} if kind is _MatrixProduct and precision == BFLOAT16 else {}
        return kind.from_config(layer.get_config() | lower)

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    # Of layers inside others too.
    for layer in twin._flatten_layers():  # noqa: SLF001
        if getattr(layer, "activation", None) is keras.activations.gelu:
            layer.activation = _gelu
    return twin


def _is_pointwise(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)
        and _has_known_size(layer)
    )


def takes_matrices(layer: keras.Layer) -> bool:
    """Return whether a layer can be `DepthwiseByMatrices`, whatever the size of its map."""
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and (layer.padding, layer.dilation_rate, layer.depth_multiplier) == ("same", (1, 1), 1)
        and _has_known_size(layer)
    )


def _is_small_depthwise(layer: keras.Layer) -> bool:
    return takes_matrices(layer) and layer.input.shape[1] * layer.input.shape[2] <= SMALL_MAP


def _is_biased_depthwise(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and (layer.use_bias, layer.dilation_rate) == (True, (1, 1))
        # TensorFlow's depthwise convolution takes one stride for both axes.
        and layer.strides[0] == layer.strides[1]
        and _has_known_size(layer)
    )


def _has_known_size(layer: keras.Layer) -> bool:
    return layer.data_format == "channels_last" and None not in layer.input.shape[1:]


# The first form whose condition a layer meets; other layers do not change.
FORMS = (
    (_is_pointwise, _MatrixProduct),
    (_is_small_depthwise, DepthwiseByMatrices),
    (_is_biased_depthwise, _Depthwise),
)
