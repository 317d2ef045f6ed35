"""VGG16, InceptionV3 and MobileNetV2 as TF-slim builds them, each with random variables under slim's names."""

import numpy as np
import tensorflow as tf

EPSILON = 0.001
INCEPTION_STEM = (("1a_3x3", 32, 2, "VALID"), ("2a_3x3", 32, 1, "VALID"), ("2b_3x3", 64, 1, "SAME"), "pool",
                  ("3b_1x1", 80, 1, "VALID"), ("4a_3x3", 192, 1, "VALID"), "pool")  # fmt: skip
# Expansion, filters, repeats and stride of MobileNetV2's stages (Sandler et al. 2018, table 2).
MOBILE_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Slim:
    """Builds layers; a variable is drawn when a layer first asks for it.

    Attributes
    ----------
    variables : of the layers so far, by name.
    """

    def __init__(self, scope):
        self.variables = {}
        self._scope = scope
        self._draw = np.random.default_rng(0)

    def variable(self, name, shape, low=-0.5, high=0.5):
        values = self._draw.uniform(low, high, shape).astype(np.float32)
        return self.variables.setdefault(f"{self._scope}/{name}", values)

    def convolution(self, x, scope, filters, size, stride=1, padding="SAME", norm=("beta",), activation=tf.nn.relu):
        shape = (*size, x.shape[-1], filters)
        kernel = self.variable(f"{scope}/weights", shape) * np.float32(4 / np.prod(shape[:-1]) ** 0.5)
        self.variables[f"{self._scope}/{scope}/weights"] = kernel
        x = tf.nn.conv2d(x, kernel, stride, padding)
        x = self.norm(x, scope, norm) if norm else x + self.variable(f"{scope}/biases", filters)
        return activation(x)

    def depthwise(self, x, scope, stride):
        kernel = self.variable(f"{scope}/depthwise_weights", (3, 3, x.shape[-1], 1))
        x = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), "SAME")
        return tf.nn.relu6(self.norm(x, scope, ("gamma", "beta")))

    def norm(self, x, scope, parts):
        name, channels = f"{scope}/BatchNorm", x.shape[-1]
        gamma = self.variable(f"{name}/gamma", channels, 0.5, 1.5) if "gamma" in parts else None
        beta = self.variable(f"{name}/beta", channels)
        mean = self.variable(f"{name}/moving_mean", channels)
        variance = self.variable(f"{name}/moving_variance", channels, 0.5, 1.5)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)


def vgg16(images):
    """Return the last feature map of RGB images, values 0 to 255, and the variables."""
    slim = Slim("vgg_16")
    x = images - np.array([123.68, 116.78, 103.94], np.float32)
    for block, (filters, repeats) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for number in range(1, repeats + 1):
            x = slim.convolution(x, f"conv{block}/conv{block}_{number}", filters, (3, 3), norm=())
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return x, slim.variables


def mobilenet_v2(images, width, with_top=False):
    """Return the last feature map or, with top, the logits of 1,001 classes, of RGB images, and the variables."""
    slim = Slim("MobilenetV2")
    both = ("gamma", "beta")

    def filters_of(number):
        # To a multiple of eight, and not less than nine tenths.
        scaled = max(8, int(number * width + 4) // 8 * 8)
        return scaled + 8 if scaled < 0.9 * number * width else scaled

    x = slim.convolution(images / 127.5 - 1, "Conv", filters_of(32), (3, 3), 2, norm=both, activation=tf.nn.relu6)
    block = 0
    for expansion, filters, repeats, first_stride in MOBILE_STAGES:
        for repeat in range(repeats):
            entry, scope = x, f"expanded_conv_{block}" if block else "expanded_conv"
            if expansion > 1:
                wide = x.shape[-1] * expansion
                x = slim.convolution(x, f"{scope}/expand", wide, (1, 1), norm=both, activation=tf.nn.relu6)
            stride = 1 if repeat else first_stride
            x = slim.depthwise(x, f"{scope}/depthwise", stride)
            x = slim.convolution(x, f"{scope}/project", filters_of(filters), (1, 1), norm=both, activation=tf.identity)
            x = x + entry if x.shape == entry.shape else x
            block += 1
    x = slim.convolution(x, "Conv_1", max(1280, filters_of(1280)), (1, 1), norm=both, activation=tf.nn.relu6)
    if with_top:
        x = tf.reduce_mean(x, (1, 2), keepdims=True)
        x = slim.convolution(x, "Logits/Conv2d_1c_1x1", 1001, (1, 1), norm=(), activation=tf.identity)[:, 0, 0]
    return x, slim.variables


def inception_v3(images):  # noqa: C901 - a list of blocks
    """Return the last feature map of RGB images, values 0 to 255, and the variables."""
    slim = Slim("InceptionV3")

    def convolution(x, scope, filters, size, stride=1, padding="SAME"):
        return slim.convolution(x, scope, filters, size, stride, padding)

    def chain(x, scope, *layers):
        for name, filters, size in layers:
            x = convolution(x, f"{scope}/{name}", filters, size)
        return x

    def averaged(x, scope, filters):
        return convolution(tf.nn.avg_pool2d(x, 3, 1, "SAME"), f"{scope}/Branch_3/Conv2d_0b_1x1", filters, (1, 1))

    def small(x, scope, filters, middle=("Conv2d_0a_1x1", "Conv2d_0b_5x5")):
        return tf.concat([
            chain(x, f"{scope}/Branch_0", ("Conv2d_0a_1x1", 64, (1, 1))),
            chain(x, f"{scope}/Branch_1", (middle[0], 48, (1, 1)), (middle[1], 64, (5, 5))),
            chain(x, f"{scope}/Branch_2", ("Conv2d_0a_1x1", 64, (1, 1)), ("Conv2d_0b_3x3", 96, (3, 3)),
                  ("Conv2d_0c_3x3", 96, (3, 3))),
            averaged(x, scope, filters),
        ], 3)  # fmt: skip

    def wide(x, scope, n):
        return tf.concat([
            chain(x, f"{scope}/Branch_0", ("Conv2d_0a_1x1", 192, (1, 1))),
            chain(x, f"{scope}/Branch_1", ("Conv2d_0a_1x1", n, (1, 1)), ("Conv2d_0b_1x7", n, (1, 7)),
                  ("Conv2d_0c_7x1", 192, (7, 1))),
            chain(x, f"{scope}/Branch_2", ("Conv2d_0a_1x1", n, (1, 1)), ("Conv2d_0b_7x1", n, (7, 1)),
                  ("Conv2d_0c_1x7", n, (1, 7)), ("Conv2d_0d_7x1", n, (7, 1)), ("Conv2d_0e_1x7", 192, (1, 7))),
            averaged(x, scope, 192),
        ], 3)  # fmt: skip

    def split(x, scope, *names):
        return [chain(x, scope, (name, 384, size)) for name, size in zip(names, ((1, 3), (3, 1)), strict=True)]

    def last(x, scope, tall):
        middle = chain(x, f"{scope}/Branch_1", ("Conv2d_0a_1x1", 384, (1, 1)))
        deep = chain(x, f"{scope}/Branch_2", ("Conv2d_0a_1x1", 448, (1, 1)), ("Conv2d_0b_3x3", 384, (3, 3)))
        return tf.concat([
            chain(x, f"{scope}/Branch_0", ("Conv2d_0a_1x1", 320, (1, 1))),
            *split(middle, f"{scope}/Branch_1", "Conv2d_0b_1x3", tall),
            *split(deep, f"{scope}/Branch_2", "Conv2d_0c_1x3", "Conv2d_0d_3x1"),
            averaged(x, scope, 192),
        ], 3)  # fmt: skip

    x = images / 127.5 - 1
    for layer in INCEPTION_STEM:
        if layer == "pool":
            x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        else:
            name, filters, stride, padding = layer
            x = convolution(x, f"Conv2d_{name}", filters, (int(name[-1]),) * 2, stride, padding)
    x = small(x, "Mixed_5b", 32)
    x = small(x, "Mixed_5c", 64, ("Conv2d_0b_1x1", "Conv_1_0c_5x5"))
    x = small(x, "Mixed_5d", 64)
    deep = chain(x, "Mixed_6a/Branch_1", ("Conv2d_0a_1x1", 64, (1, 1)), ("Conv2d_0b_3x3", 96, (3, 3)))
    x = tf.concat([
        convolution(x, "Mixed_6a/Branch_0/Conv2d_1a_1x1", 384, (3, 3), 2, "VALID"),
        convolution(deep, "Mixed_6a/Branch_1/Conv2d_1a_1x1", 96, (3, 3), 2, "VALID"),
        tf.nn.max_pool2d(x, 3, 2, "VALID"),
    ], 3)  # fmt: skip
    for block, filters in zip("bcde", (128, 160, 160, 192), strict=True):
        x = wide(x, f"Mixed_6{block}", filters)
    near = chain(x, "Mixed_7a/Branch_0", ("Conv2d_0a_1x1", 192, (1, 1)))
    deep = chain(x, "Mixed_7a/Branch_1", ("Conv2d_0a_1x1", 192, (1, 1)), ("Conv2d_0b_1x7", 192, (1, 7)),
                 ("Conv2d_0c_7x1", 192, (7, 1)))  # fmt: skip
    x = tf.concat([
        convolution(near, "Mixed_7a/Branch_0/Conv2d_1a_3x3", 320, (3, 3), 2, "VALID"),
        convolution(deep, "Mixed_7a/Branch_1/Conv2d_1a_3x3", 192, (3, 3), 2, "VALID"),
        tf.nn.max_pool2d(x, 3, 2, "VALID"),
    ], 3)  # fmt: skip
    x = last(x, "Mixed_7b", "Conv2d_0b_3x1")
    return last(x, "Mixed_7c", "Conv2d_0c_3x1"), slim.variables


def write(prefix, variables):
    """Write a checkpoint of format V2."""
    names = list(variables)
    arrays = [tf.constant(variables[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=arrays)
    return str(prefix)


def write_v1(path, variables):
    """Write a checkpoint of format V1, one file, as slim's vgg_16.ckpt and inception_v3.ckpt are."""
    tf.raw_ops.Save(filename=str(path), tensor_names=list(variables), data=list(map(tf.constant, variables.values())))
    return str(path)
