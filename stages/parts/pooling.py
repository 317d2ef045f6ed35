"""How a feature map becomes features: the Keras layers behind `pooling` in params.yaml."""

from collections.abc import Callable

import keras


def _avg_pool(tensor):
    return keras.layers.GlobalAveragePooling2D(name="avg_pool")(tensor)


def _max_pool(tensor):
    return keras.layers.GlobalMaxPooling2D(name="max_pool")(tensor)


def _avg_and_max_pool(tensor):
    return keras.layers.Concatenate(name="avg_max_pool")([_avg_pool(tensor), _max_pool(tensor)])


def _same(tensor):
    return tensor


# Maps (batch, height, width, channels) to (batch, channels); avg+max to (batch, 2 * channels); none leaves the map.
POOLINGS: dict[str, Callable] = {
    "avg": _avg_pool,
    "max": _max_pool,
    "avg+max": _avg_and_max_pool,
    "none": _same,
}
