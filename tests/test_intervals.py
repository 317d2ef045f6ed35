"""What chance alone can do: the interval of a share, and the test of two classifiers."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from graft.scores.intervals import mcnemar, wilson_interval


@pytest.mark.parametrize(("right", "images"), [(0, 10), (5, 10), (10, 10), (1, 1), (700, 734)])
def test_the_interval_is_wilsons(right, images):
    expected = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson_interval(right, images) == pytest.approx(tuple(expected))


COUNTS = st.integers(1, 10**6).flatmap(lambda images: st.tuples(st.integers(0, images), st.just(images)))


@given(COUNTS)
@example((0, 27))  # without care, rounding gives -7e-18
def test_the_interval_contains_the_share(counts):
    right, images = counts
    low, high = wilson_interval(right, images)
    assert 0 <= low <= right / images <= high <= 1


@given(COUNTS)
def test_the_interval_of_the_wrong_ones_is_the_mirror_image(counts):
    right, images = counts
    low, high = wilson_interval(right, images)
    assert wilson_interval(images - right, images) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(COUNTS)
def test_the_interval_narrows_as_images_are_added(counts):
    right, images = counts
    low, high = wilson_interval(right, images)
    low_of_more, high_of_more = wilson_interval(4 * right, 4 * images)
    assert high_of_more - low_of_more < high - low


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        # Both tails of ten throws of a coin: 2 (1 + 10) / 2^10.
        (1, 9, 22 / 1024),
        # 2 (1 + 6 + 15) / 2^6
        (2, 4, 44 / 64),
        (0, 5, 2 / 32),
        (3, 3, 1.0),
        (0, 0, 1.0),
        # Agresti, Categorical Data Analysis, section 10.1, ratings of a prime minister: z^2 = 17.36, p < 0.0001.
        (150, 86, 3.7e-5),
    ],
)
def test_mcnemars_test_is_the_exact_binomial_one(only_first, only_second, p_value):
    assert mcnemar(only_first, only_second) == pytest.approx(p_value, rel=0.02)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_order_of_two_classifiers_does_not_change_mcnemars_test(only_first, only_second):
    p_value = mcnemar(only_first, only_second)
    assert 0 < p_value <= 1
    assert p_value == pytest.approx(mcnemar(only_second, only_first))
