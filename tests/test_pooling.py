"""Pooling: how a feature map becomes a vector of features, the same by Keras and by NumPy."""

import keras
import numpy as np
import pytest

from graft.settings.pooling import POOLINGS, pool_array, pool_tensor

MAPS = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)
# Of the channels 0, 2, ..., 10 and 1, 3, ..., 11 of the first map, and those of the second one.
MEANS, MAXIMA = [[5, 6], [17, 18]], [[10, 11], [22, 23]]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("avg", MEANS), ("max", MAXIMA), ("avg+max", np.hstack([MEANS, MAXIMA])), ("none", MAPS)],
)
def test_features_are_the_means_or_maxima_of_each_channel_or_the_map_itself(pooling, expected):
    features = pool_array(MAPS, pooling)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_keras_and_numpy_give_the_same_features(pooling):
    feature_map = keras.Input(MAPS.shape[1:])
    model = keras.Model(feature_map, pool_tensor(feature_map, pooling))
    maps = np.random.default_rng(0).normal(size=(5, 2, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(model.predict(maps, verbose=0), pool_array(maps, pooling), rtol=1e-5)
