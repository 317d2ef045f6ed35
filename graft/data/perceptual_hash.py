"""A perceptual hash: mostly equal for copies of a picture that were saved again or made smaller."""

import numpy as np
from PIL import Image
from scipy.fft import dctn

GRID = 32
FREQUENCIES = 5
# The rounding error of a coefficient that is zero must not decide its sign.
TOLERANCE = 1e-6


def grey_thumbnail(image: Image.Image) -> np.ndarray:
    """Return the picture in grey at 32 x 32 pixels, uint8 (32, 32), whatever its shape."""
    return np.asarray(image.convert("L").resize((GRID, GRID), Image.Resampling.LANCZOS))


def perceptual_hash(image: Image.Image) -> str:
    """Return the picture's perceptual hash, six hexadecimal digits.

    It holds the signs of the 24 lowest frequencies, without the mean, of the cosine transform of the grey picture at
    32 x 32 pixels: pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions") with 5 x 5
    frequencies instead of 8 x 8.
    """
    return hash_and_neighbour(grey_thumbnail(image))[0]


def hash_and_neighbour(thumbnail: np.ndarray) -> tuple[str, str]:
    """Return the perceptual hash of a grey thumbnail, and the hash with the least certain sign changed.

    Two copies whose hashes differ in one sign mostly have one of the two hashes in common (multi-probe hashing: Lv et
    al. 2007, "Multi-Probe LSH").
    """
    lowest = low_frequencies(thumbnail, FREQUENCIES)
    signs = lowest > TOLERANCE
    neighbour = signs.copy()
    neighbour[np.abs(lowest).argmin()] ^= True
    return np.packbits(signs).tobytes().hex(), np.packbits(neighbour).tobytes().hex()


def low_frequencies(planes: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` x `count` lowest frequencies of the cosine transform of planes, without the mean.

    Parameters
    ----------
    planes : array (..., 32, 32).

    Returns
    -------
    float64 array (..., count**2 - 1); its norm is at most that of the plane (the transform is orthonormal).
    """
    lowest = dctn(planes.astype(np.float64), axes=(-2, -1), norm="ortho")[..., :count, :count]
    return lowest.reshape(*planes.shape[:-2], count**2)[..., 1:]
