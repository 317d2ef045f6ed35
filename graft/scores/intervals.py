"""How far a result may be chance: the interval of an accuracy, and the test of two classifiers on the same images."""

import numpy as np
from scipy.stats import binomtest

# 95 % of a normal distribution lies within this many standard deviations.
Z_95 = 1.959963984540054


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Return both ends of the 95 % interval of a proportion, each from 0 to 1 (Wilson 1927, JASA 22, 209-212).

    Parameters
    ----------
    right : number of images that are right, from 0.
    images : number of all images, from 1.
    """
    share = right / images
    widening = Z_95**2 / images
    middle = (share + widening / 2) / (1 + widening)
    half = Z_95 / (1 + widening) * np.sqrt(share * (1 - share) / images + widening / (4 * images))
    # Rounding could put the proportion itself, 0 or 1, outside.
    return float(np.clip(middle - half, 0, share)), float(np.clip(middle + half, share, 1))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's test, exact and two-sided, that two classifiers are right equally often.

    McNemar 1947, Psychometrika 12, 153-157; exact as in Dietterich 1998, Neural Computation 10, 1895-1923.

    Parameters
    ----------
    only_first, only_second : number of images that only the first or only the second classifier has right, from 0.
    """
    different = only_first + only_second
    return float(binomtest(only_first, different).pvalue) if different else 1.0
