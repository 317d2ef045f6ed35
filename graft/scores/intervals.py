"""What chance alone can do: the interval of a share, and the test of two classifiers on the same images."""

import numpy as np
from scipy.stats import binomtest

# 95 % of a normal distribution lies within this many standard deviations.
Z_95 = 1.959963984540054


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, each from 0 to 1 (Wilson 1927, JASA 22, 209-212).

    Parameters
    ----------
    right : how many of the images are right, from 0.
    images : how many there are, from 1.
    """
    share = right / images
    widening = Z_95**2 / images
    middle = (share + widening / 2) / (1 + widening)
    half = Z_95 / (1 + widening) * np.sqrt(share * (1 - share) / images + widening / (4 * images))
    # At 0 and 1 the bound is the share itself, but for rounding.
    return float(np.clip(middle - half, 0, share)), float(np.clip(middle + half, share, 1))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's test, exact and two-sided, that two classifiers are right equally often.

    McNemar 1947, Psychometrika 12, 153-157; exact as in Dietterich 1998, Neural Computation 10, 1895-1923.

    Parameters
    ----------
    only_first, only_second : how many images only the one or only the other has right, from 0.
    """
    different = only_first + only_second
    return float(binomtest(only_first, different).pvalue) if different else 1.0
