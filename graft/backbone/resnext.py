"""ResNeXt50 and ResNeXt101 (Xie et al. 2017, arXiv 1611.05431), 32 groups, with the layers of their published weights.

The weights are those of the former package keras-applications. Keras has neither network today, but still names the
files in its table of ResNet weights (keras/src/applications/resnet.py): address and MD5 below are from there.
"""

import keras

GROUPS = 32
# Of each stage: the filters of its 3 x 3 convolutions. Its output has twice as many channels.
FILTERS = (128, 256, 512, 1024)
BLOCKS = {"ResNeXt50": (3, 4, 6, 3), "ResNeXt101": (3, 4, 23, 3)}
ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
# The MD5 of each file: with the classification layer, and without.
MD5 = {
    "ResNeXt50": ("67a5b30d522ed92f75a1f16eef299d1a", "62527c363bdd9ec598bed41947b379fc"),
    "ResNeXt101": ("34fb605428fcc7aa4d62f44404c11509", "0f678c91647380debd923963594981b3"),
}


def build_resnext(name: str, image_size: int, include_top: bool = False) -> keras.Model:
    """Return the network with Keras's random weights.

    Parameters
    ----------
    name : a key of `BLOCKS`.
    image_size : height and width of an image in pixels, from 32.
    include_top : whether the network ends in the probabilities of 1,000 classes, float32 (batch, 1000), or in the last
        feature map, float32 (batch, size / 32, size / 32, 2048).
    """
    layers = keras.layers
    images = keras.Input((image_size, image_size, 3))
    x = layers.ZeroPadding2D(3, name="conv1_pad")(images)
    x = layers.Conv2D(64, 7, 2, use_bias=False, name="conv1_conv")(x)
    x = layers.Activation("relu", name="conv1_relu")(_batch_norm(x, "conv1_bn"))
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, (filters, blocks) in enumerate(zip(FILTERS, BLOCKS[name], strict=True), start=2):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            x = residual_block(x, filters, stride, f"conv{stage}_block{block}")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(1000, "softmax", name="probs")(x)
    return keras.Model(images, x, name=name)


def residual_block(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    """Return a block's output: three convolutions beside a shortcut, which has a convolution where the shapes differ.

    Parameters
    ----------
    x : (batch, height, width, channels).
    filters : of the 3 x 3 convolution, a multiple of `GROUPS`; the output has twice as many channels.
    stride : of the 3 x 3 convolution.
    name : the beginning of the layers' names.
    """
    layers = keras.layers
    shortcut = x
    if stride > 1 or x.shape[-1] != 2 * filters:
        shortcut = layers.Conv2D(2 * filters, 1, stride, use_bias=False, name=f"{name}_0_conv")(x)
        shortcut = _batch_norm(shortcut, f"{name}_0_bn")
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(x)
    x = layers.Activation("relu", name=f"{name}_1_relu")(_batch_norm(x, f"{name}_1_bn"))
    x = _grouped_convolution(x, stride, f"{name}_2")
    x = layers.Activation("relu", name=f"{name}_2_relu")(_batch_norm(x, f"{name}_2_bn"))
    x = layers.Conv2D(2 * filters, 1, use_bias=False, name=f"{name}_3_conv")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, _batch_norm(x, f"{name}_3_bn")])
    return layers.Activation("relu", name=f"{name}_out")(x)


def weights_file(name: str, include_top: bool) -> str:
    """Return the path of the published weights, downloaded into Keras's folder unless they are there; checks the MD5.

    Raises what `keras.utils.get_file` raises.
    """
    file = f"{name.lower()}_weights_tf_dim_ordering_tf_kernels{'' if include_top else '_notop'}.h5"
    md5 = MD5[name][0 if include_top else 1]
    return keras.utils.get_file(file, ADDRESS + file, cache_subdir="models", file_hash=md5)


def _grouped_convolution(x: keras.KerasTensor, stride: int, name: str) -> keras.KerasTensor:
    """Return a 3 x 3 convolution in groups of channels, in the form that the published weights have.

    A depthwise convolution gives the product of each channel with each of its group's filters; their sum over the
    channels of the group is the convolution. (TensorFlow has no gradient of grouped convolutions on a CPU.)
    """
    layers = keras.layers
    in_group = x.shape[-1] // GROUPS
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(3, stride, depth_multiplier=in_group, use_bias=False, name=f"{name}_conv")(x)
    height, width = x.shape[1:3]
    x = layers.Reshape((height * width, GROUPS, in_group, in_group), name=f"{name}_products")(x)
    x = keras.ops.sum(x, axis=3)
    return layers.Reshape((height, width, GROUPS * in_group), name=f"{name}_sums")(x)


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=1.001e-5, name=name)(x)
