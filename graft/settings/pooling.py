"""How a feature map, or tokens, become a vector of features: `pooling` and `head.pooling` in params.yaml.

Only the function that needs Keras imports it: the settings are read before Keras, and quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

# What each pooling takes from every channel: the mean or the maximum over all places, or the value of the class token.
# none keeps all values.
MAP_POOLINGS: dict[str, tuple[str, ...]] = {"avg": ("avg",), "max": ("max",), "avg+max": ("avg", "max"), "none": ()}
POOLINGS: dict[str, tuple[str, ...]] = {"cls": ("cls",), "cls+avg": ("cls", "avg")} | MAP_POOLINGS


def pool_tensor(feature_map: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    """Return the features of a feature map or of tokens, computed by Keras layers.

    Parameters
    ----------
    feature_map : a map (batch, height, width, channels), or tokens (batch, 1 + places, channels), the class token
        first.
    pooling : a key of `POOLINGS`. ``avg``, ``max`` and ``cls`` give (batch, channels), ``avg+max`` and ``cls+avg``
        (batch, 2 * channels), ``none`` the map or the tokens themselves. The class token is no place: it is in neither
        mean nor maximum. A map has none: it takes the keys of `MAP_POOLINGS` alone.
    """
    import keras

    tokens = len(feature_map.shape) == 3
    dimensions = "1D" if tokens else "2D"
    kinds = {"avg": f"GlobalAveragePooling{dimensions}", "max": f"GlobalMaxPooling{dimensions}"}

    def pooled(name: str) -> keras.KerasTensor:
        if name == "cls":
            first = keras.layers.Cropping1D((0, feature_map.shape[1] - 1), name="class_token")(feature_map)
            return keras.layers.Flatten(name="cls_pool")(first)
        places = keras.layers.Cropping1D((1, 0), name=f"{name}_places")(feature_map) if tokens else feature_map
        return getattr(keras.layers, kinds[name])(name=f"{name}_pool")(places)

    features = [pooled(name) for name in POOLINGS[pooling]]
    if len(features) > 1:
        return keras.layers.Concatenate(name=f"{'_'.join(POOLINGS[pooling])}_pool")(features)
    return features[0] if features else feature_map


def pool_array(feature_maps: np.ndarray, pooling: str) -> np.ndarray:
    """Return the features of feature maps or tokens, as `pool_tensor` does, computed by NumPy.

    Parameters
    ----------
    feature_maps : float32 array (images, height, width, channels), or tokens (images, 1 + places, channels).
    pooling : a key of `POOLINGS`.

    Returns
    -------
    float32 array (images, features), or for ``none`` the maps or tokens themselves.
    """
    tokens = feature_maps.ndim == 3
    places, axes = (feature_maps[:, 1:], 1) if tokens else (feature_maps, (1, 2))
    reduce: dict[str, Callable[[], np.ndarray]] = {
        "cls": lambda: feature_maps[:, 0],
        "avg": lambda: np.mean(places, axis=axes),
        "max": lambda: np.max(places, axis=axes),
    }
    features = [reduce[name]() for name in POOLINGS[pooling]]
    return np.concatenate(features, axis=1) if features else feature_maps
