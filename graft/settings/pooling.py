"""How a feature map becomes a vector of features: `pooling` and `head.pooling` in params.yaml.

Only the function that needs Keras imports it: the settings are read before Keras, and quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

# The values that each pooling takes from every channel, over height and width; none keeps the map as it is.
POOLINGS: dict[str, tuple[str, ...]] = {"avg": ("avg",), "max": ("max",), "avg+max": ("avg", "max"), "none": ()}


def pool_tensor(feature_map: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    """Return the features of a feature map, computed by Keras layers.

    Parameters
    ----------
    feature_map : (batch, height, width, channels).
    pooling : a key of `POOLINGS`. ``avg`` and ``max`` give (batch, channels), ``avg+max`` (batch, 2 * channels),
        ``none`` the map itself.
    """
    import keras

    layers = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
    features = [layers[name](name=f"{name}_pool")(feature_map) for name in POOLINGS[pooling]]
    if len(features) > 1:
        return keras.layers.Concatenate(name=f"{'_'.join(POOLINGS[pooling])}_pool")(features)
    return features[0] if features else feature_map


def pool_array(feature_maps: np.ndarray, pooling: str) -> np.ndarray:
    """Return the features of feature maps, as `pool_tensor` does, computed by NumPy.

    Parameters
    ----------
    feature_maps : float32 array (images, height, width, channels).
    pooling : a key of `POOLINGS`.

    Returns
    -------
    float32 array (images, features), or for ``none`` the maps themselves.
    """
    reduce: dict[str, Callable[..., np.ndarray]] = {"avg": np.mean, "max": np.max}
    features = [reduce[name](feature_maps, axis=(1, 2)) for name in POOLINGS[pooling]]
    return np.concatenate(features, axis=1) if features else feature_maps
