"""Size, format, brightness, sharpness and information of an image: what `download` writes of each that it decodes."""

from dataclasses import dataclass, fields

import numpy as np
from PIL import Image

# A picture is made this small, so that sharpness and information do not depend on its number of pixels.
SIDE = 128


@dataclass(frozen=True)
class ImageStatistics:
    """A row of data/image_statistics.csv, after the path.

    Attributes
    ----------
    width, height : pixels of the upright picture.
    format : as Pillow calls it, "JPEG" say.
    bytes : the size of the file.
    brightness : the mean grey level, from 0 (black) to 1 (white).
    sharpness : the variance of the Laplacian of the grey levels, which are from 0 to 255 (Pech-Pacheco et al. 2000,
        "Diatom autofocusing in brightfield microscopy"); from 0.
    entropy : of the distribution of the grey levels, from 0 (one level) to 8 bits.
    """

    width: int
    height: int
    format: str
    bytes: int
    brightness: float
    sharpness: float
    entropy: float


COLUMNS = ("path", *(field.name for field in fields(ImageStatistics)))


def image_statistics(picture: Image.Image, size: tuple[int, int], kind: str, length: int) -> ImageStatistics:
    """Return the statistics of an image.

    Parameters
    ----------
    picture : RGB, upright, in any scale.
    size : width and height in the file, which may not be upright.
    kind : the format of the file.
    length : bytes of the file.
    """
    width, height = size
    if (width - height) * (picture.width - picture.height) < 0:
        width, height = height, width
    small = picture.resize((min(picture.width, SIDE), min(picture.height, SIDE)), Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"))
    shares = np.bincount(grey.ravel(), minlength=256) / grey.size
    shares = shares[shares > 0]
    return ImageStatistics(
        width,
        height,
        kind,
        length,
        round(float(grey.mean()) / 255, 4),
        round(_laplacian_variance(grey.astype(np.int32)), 2),
        # Without the sign of a zero.
        round(float(-(shares * np.log2(shares)).sum()), 3) + 0.0,
    )


def _laplacian_variance(grey: np.ndarray) -> float:
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var())
