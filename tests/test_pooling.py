"""Pooling: how a feature map, or tokens, become a vector of features, the same by Keras and by NumPy."""

import keras
import numpy as np
import pytest

from graft.settings.pooling import MAP_POOLINGS, POOLINGS, pool_array, pool_tensor

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


# A class token, and the places of the first map in a row.
TOKENS = np.concatenate([np.full((2, 1, 2), 50.0), MAPS.reshape(2, 6, 2)], axis=1).astype(np.float32)
CLASS = [[50, 50], [50, 50]]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", CLASS),
        ("avg", MEANS),
        ("max", MAXIMA),
        ("avg+max", np.hstack([MEANS, MAXIMA])),
        ("cls+avg", np.hstack([CLASS, MEANS])),
        ("none", TOKENS),
    ],
)
def test_the_class_token_is_a_feature_of_its_own_and_in_no_mean_or_maximum(pooling, expected):
    features = pool_array(TOKENS, pooling)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize(
    ("shape", "pooling"),
    [(MAPS.shape, pooling) for pooling in MAP_POOLINGS] + [(TOKENS.shape, pooling) for pooling in POOLINGS],
)
def test_keras_and_numpy_give_the_same_features(shape, pooling):
    values = keras.Input(shape[1:])
    model = keras.Model(values, pool_tensor(values, pooling))
    numbers = np.random.default_rng(0).normal(size=(5, *shape[1:])).astype(np.float32)
    np.testing.assert_allclose(model.predict(numbers, verbose=0), pool_array(numbers, pooling), rtol=1e-5)
