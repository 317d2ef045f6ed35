"""Initial weights: those of Keras by name, the same for the same seed."""

import numpy as np
import pytest

from graft.settings.initializers import INITIALIZERS, initial_kernel


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_kernel_depends_on_its_seed_alone(name):
    first, again, other = (initial_kernel(name, 30, 20, seed) for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == ((30, 20), np.float32)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_normal", 2 / 500),
        ("glorot_uniform", 2 / 500),
        ("he_normal", 2 / 300),
        ("he_uniform", 2 / 300),
        ("lecun_normal", 1 / 300),
        ("random_normal", 0.05**2),
    ],
)
def test_each_name_is_the_initializer_of_keras_that_is_called_so(name, variance):
    assert initial_kernel(name, 300, 200, 0).var() == pytest.approx(variance, rel=0.05)


def test_a_truncated_normal_kernel_has_no_values_beyond_two_standard_deviations():
    kernel = initial_kernel("truncated_normal", 300, 200, 0)
    assert 0.09 < np.abs(kernel).max() <= 0.1
