"""What makes a training step fast, against the same by Keras's layers: `python -m benchmarks.training_step`.

It measures convolutions with their gradients, on 32 maps in sizes of EfficientNetLite0's top at 224 and 64 pixels;
whole tops in bfloat16 and in float32, where the processor has instructions for bfloat16; and a step of AdamW on the
weights of a top. Both forms take turns in one process, with oneDNN on. It prints the median of the ratios, the least
and the largest. Comments in graft/training and docs/design.md cite them; they are not in benchmarks/RESULTS.md.
"""

import os
import time
from collections.abc import Callable
from statistics import median

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

import keras
import numpy as np
import tensorflow as tf

from graft.backbone.build import build
from graft.backbone.cut import cut
from graft.backbone.fold_batch_norm import fold_batch_norms
from graft.training.fast_gradients import with_fast_gradients
from graft.training.flat_network import FlatNetwork
from graft.training.precision import BFLOAT16, FLOAT32, supported_precision

BATCH_SIZE = 32
PAIRS = 15


def seconds(step: Callable[[], object]) -> float:
    """Return the seconds of a step."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def compare(name: str, theirs: Callable[[], object], ours: Callable[[], object]) -> None:
    """Run both in turn and print how many times as fast ours is; the first pair, with tracing, does not count."""
    first = seconds(theirs) / seconds(ours)
    ratios = sorted(seconds(theirs) / seconds(ours) for _ in range(PAIRS))
    print(f"{name:34} {median(ratios):5.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f}); the first call {first:.2f} x")


def gradients(model: keras.Model) -> Callable[[], object]:
    """Return a function that computes a network's outputs and the gradients of the sum of their squares."""
    maps = tf.constant(np.random.default_rng(0).normal(size=(BATCH_SIZE, *model.input_shape[1:])).astype(np.float32))

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            loss = tf.reduce_sum(tf.square(model(maps, training=False)))
        return tape.gradient(loss, [maps, *model.trainable_variables])

    return lambda: step()[0].numpy()  # noqa: PLW0108 - not a call of step alone


def one_layer(size: int, channels: int, layer: keras.Layer) -> keras.Model:
    """Return a network of one layer on maps (size, size, channels)."""
    maps = keras.Input((size, size, channels))
    return keras.Model(maps, layer(maps))


def top_of(name: str, size: int) -> keras.Model:
    """Return the top of a backbone for images of that size, with BatchNorms folded as in training."""
    return fold_batch_norms(cut(build(name, size, "none"), 0.6).top)


def update(model: keras.Model, compiled: bool) -> Callable[[], object]:
    """Return a function that takes a step of AdamW with gradients of 0.1."""
    variables = model.trainable_variables
    optimizer = keras.optimizers.AdamW(1e-4)
    optimizer.build(variables)
    slopes = [tf.fill(variable.shape, 0.1) for variable in variables]

    @tf.function(autograph=False, jit_compile=compiled)
    def step():
        optimizer.apply(slopes, variables)

    return lambda: (step(), variables[0].numpy())


def main() -> None:
    """Print a line for each."""
    layers = keras.layers
    for size, channels in ((14, 672), (7, 1152), (4, 672), (2, 1152)):
        model = one_layer(size, channels, layers.DepthwiseConv2D(5, padding="same", use_bias=False))
        compare(f"depthwise 5x5, {size} x {size} x {channels}", gradients(model), gradients(with_fast_gradients(model)))
    for size, channels in ((17, 720), (9, 1248), (14, 672), (7, 1152)):
        model = one_layer(size, channels, layers.DepthwiseConv2D(5, padding="same"))
        name = f"depthwise 5x5 and bias, {size} x {size} x {channels}"
        compare(name, gradients(model), gradients(with_fast_gradients(model)))
    for size, channels in ((14, 112), (4, 112)):
        model = one_layer(size, channels, layers.Conv2D(672, 1, use_bias=False))
        compare(f"1x1, {size} x {size} x {channels}", gradients(model), gradients(with_fast_gradients(model)))
        model = one_layer(size, channels, layers.Conv2D(672, 1))
        compare(f"1x1 and bias, {size} x {size} x {channels}", gradients(model), gradients(with_fast_gradients(model)))
    if supported_precision("auto") == BFLOAT16:
        for name, size in (("MobileNetV2", 224), ("EfficientNetLite2", 260)):
            model = top_of(name, size)
            both = [gradients(with_fast_gradients(model, precision)) for precision in (FLOAT32, BFLOAT16)]
            compare(f"bfloat16, {name} at {size}", *both)
    model = top_of("EfficientNetLite0", 64)
    compare(f"AdamW, {len(model.trainable_variables)} weights", update(model, False), update(FlatNetwork(model), True))


if __name__ == "__main__":
    main()
