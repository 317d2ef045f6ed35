"""Deterministic augmented views: what a view shows depends on the image, its number and the settings alone."""

import hashlib
import json
import math
import random
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageEnhance

# The view is drawn from a picture somewhat larger than itself, so that turning and zooming in lose no sharpness.
OVERSAMPLING = 1.25
# Around the picture its mirror image goes on for this share of its size: what a shift or turn brings in.
MARGIN = 0.5
FLIPS = {"none": (False, False), "horizontal": (True, False), "vertical": (False, True), "both": (True, True)}
VERSION = "1"


def generator(sha256: str, number: int, settings: Mapping[str, object]) -> random.Random:
    """Return the generator that one view of one image is drawn from.

    Parameters
    ----------
    sha256 : of the image file's bytes.
    number : of the view, from 1.
    settings : of the augmentation.
    """
    seed = json.dumps([sha256, number, settings], sort_keys=True)
    return random.Random(int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big"))


def base_size(size: int) -> int:
    """Return the pixels on each side of the picture that views of `size` are drawn from."""
    return round(size * OVERSAMPLING)


def extended(base: Image.Image) -> Image.Image:
    """Return the picture with its mirror image around it, `MARGIN` of its size on each side."""
    pixels = np.asarray(base)
    margin = round(base.width * MARGIN)
    return Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), "symmetric"))


def view(picture: Image.Image, size: int, draw: random.Random, settings: Mapping[str, object]) -> np.ndarray:
    """Return one augmented view: warped once (flip, turn, zoom and shift in one affine map), then changed in colour.

    Parameters
    ----------
    picture : what `extended` returned.
    size : pixels on each side of the view.
    draw : the view's own generator.
    settings : flip (none, horizontal, vertical, both), rotation (degrees), zoom, shift (shares of the size),
        brightness, contrast, saturation (changes of the factor 1).

    Returns
    -------
    uint8 array (size, size, 3), RGB.
    """
    warped = picture.transform(
        (size, size), Image.Transform.AFFINE, _affine(picture.width, size, draw, settings), Image.Resampling.BILINEAR
    )
    for enhancer, name in (
        (ImageEnhance.Brightness, "brightness"),
        (ImageEnhance.Contrast, "contrast"),
        (ImageEnhance.Color, "saturation"),
    ):
        factor = 1 + draw.uniform(-1, 1) * settings[name]
        if factor != 1:
            warped = enhancer(warped).enhance(factor)
    return np.asarray(warped)


def _affine(width: int, size: int, draw: random.Random, settings: Mapping[str, object]) -> tuple[float, ...]:
    """Return a, b, c, d, e, f of Pillow's AFFINE: pixel (x, y) of the view shows (ax + by + c, dx + ey + f)."""
    base = width / (1 + 2 * MARGIN)
    may_mirror, may_turn_over = FLIPS[settings["flip"]]
    mirror = -1 if draw.random() < 0.5 and may_mirror else 1
    turn_over = -1 if draw.random() < 0.5 and may_turn_over else 1
    angle = math.radians(draw.uniform(-1, 1) * settings["rotation"])
    # The same share in and out: 1 + zoom, or 1 / (1 + zoom).
    scale = base / size * (1 + settings["zoom"]) ** draw.uniform(-1, 1)
    a, b = mirror * scale * math.cos(angle), -mirror * scale * math.sin(angle)
    d, e = turn_over * scale * math.sin(angle), turn_over * scale * math.cos(angle)
    middle_x = width / 2 + draw.uniform(-1, 1) * settings["shift"] * base
    middle_y = width / 2 + draw.uniform(-1, 1) * settings["shift"] * base
    half = size / 2
    return a, b, middle_x - (a + b) * half, d, e, middle_y - (d + e) * half
