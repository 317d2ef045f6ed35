"""Which of many numbers are unusual, by a rule that the unusual ones themselves hardly move."""

import numpy as np

# A modified z-score beyond this is an outlier (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
MOST = 3.5
# Of a normal distribution: the median absolute deviation in standard deviations.
NORMAL = 0.6745


def modified_z_scores(values: np.ndarray) -> np.ndarray:
    """Return how far each number is from the median, in units of the median absolute deviation (MAD), as float64.

    Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers": 0.6745 (value - median) / MAD, for normal numbers
    close to their usual z-scores. Where more than half of the numbers are equal, the MAD is 0, and each other number
    has an infinite score.

    Parameters
    ----------
    values : float array (numbers,), one number or more.
    """
    distances = values - np.median(values)
    deviation = np.median(np.abs(distances))
    # 0 / 0, of the median itself, is no distance.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(NORMAL * distances / deviation, nan=0.0, posinf=np.inf, neginf=-np.inf)
