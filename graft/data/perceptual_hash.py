"""A perceptual hash: equal for copies of a picture that were saved again or made smaller."""

import numpy as np
from PIL import Image
from scipy.fft import dctn

GRID = 32
FREQUENCIES = 5
# The rounding error of a coefficient that is zero must not decide its sign.
TOLERANCE = 1e-6


def perceptual_hash(image: Image.Image) -> str:
    """Return the picture's perceptual hash, six hexadecimal digits.

    It holds the signs of the 24 lowest frequencies, without the mean, of the cosine transform of the grey picture at
    32 x 32 pixels: pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions") with 5 x 5
    frequencies instead of 8 x 8.
    """
    grey = np.asarray(image.convert("L").resize((GRID, GRID), Image.Resampling.LANCZOS), dtype=np.float64)
    lowest = dctn(grey, norm="ortho")[:FREQUENCIES, :FREQUENCIES].ravel()[1:]  # (5, 5) -> (24,)
    return np.packbits(lowest > TOLERANCE).tobytes().hex()
