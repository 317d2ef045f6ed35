"""A smaller learning rate for each block farther from the head: `fine_tune.layer_decay`.

Clark et al. 2020, "ELECTRA", arXiv 2003.10555; for vision transformers Bao et al. 2022, "BEiT", arXiv 2106.08254.
"""

from itertools import pairwise

import keras
import tensorflow as tf

from graft.backbone.cut import cut_points
from graft.training.flat_network import FlatNetwork


def blocks_above(model: keras.Model) -> dict[int, int]:
    """Return how many blocks lie above each weight's own block, by the `id` of the weight.

    A block is what lies between two places where a single tensor crosses, if it has a kernel: a block of a transformer,
    or of a residual network. Layers without a kernel, as the last LayerNorm, belong to the block above them. The head
    has 0.

    Parameters
    ----------
    model : functional, with one input and one output.
    """
    ends = sorted({0, len(model.layers)} | {point.index for point in cut_points(model)})
    found: dict[int, int] = {}
    above = -1
    for start, end in reversed(list(pairwise(ends))):
        weights = [weight for layer in model.layers[start:end] for weight in layer.weights]
        above += any(len(weight.shape) > 1 for weight in weights)
        found |= {id(weight): max(above, 0) for weight in weights}
    return found


def decay_rates(
    optimizer: keras.Optimizer, flat: FlatNetwork, model: keras.Model, decay: float, weight_decay: float
) -> None:
    """Let an optimiser use `decay` to the power of `blocks_above` times its rate for each weight.

    Parameters
    ----------
    optimizer : changed in place; its own weight decay is 0.
    flat : the weights that it trains.
    model : the network that has them.
    decay : above 0 and below 1.
    weight_decay : decoupled, of the kernels, at the rate of each weight.
    """
    above, own_step = blocks_above(model), optimizer.update_step

    def step(gradient: tf.Tensor, variable: tf.Variable, rate: tf.Tensor) -> None:
        # Keras passes TensorFlow's variable in place of its own.
        vector = flat.kernels if variable is flat.kernels.value else flat.vectors
        rates = tf.cast(rate, tf.float32) * flat.spread(vector, lambda weight: decay ** above[id(weight)])
        if vector is flat.kernels:
            variable.assign(variable - variable * weight_decay * rates)
        own_step(gradient, variable, rates)

    optimizer.update_step = step
