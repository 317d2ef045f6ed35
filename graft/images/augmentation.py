"""Augmented views: what a view shows depends only on the image, the view's number and the settings."""

import hashlib
import json
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from graft.images import randaugment
from graft.images.randaugment import Move

# A view is taken from an image that is larger by this factor: turning it and zooming in lose no sharpness then.
OVERSAMPLING = 1.25
# The mirror image around an image, as a share of its shorter side: what a shift or a turn brings into the view.
MARGIN = 0.5
# By name in params.yaml: whether a view may be mirrored from left to right, and from top to bottom.
FLIPS = {"none": (False, False), "horizontal": (True, False), "vertical": (False, True), "both": (True, True)}
# The value with which each setting changes nothing.
NEUTRAL = {
    "flip": "none",
    "rotation": 0,
    "zoom": 0,
    "shift": 0,
    "crop_jitter": 0,
    "shear": 0,
    "crop": 1,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "randaugment": {"count": 0, "magnitude": 0},
}
ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}
# What is computed from views is stored under this name. Raise it when the same settings give other views.
VERSION = "2"


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that views depend on: all of them, but no magnitude where RandAugment makes no change."""
    used = settings["randaugment"] if settings["randaugment"]["count"] else NEUTRAL["randaugment"]
    return {**settings, "randaugment": used}


def generator(sha256: str, number: int, settings: Mapping[str, Any]) -> random.Random:
    """Return the random generator of one view of one image.

    Parameters
    ----------
    sha256 : of the image file's bytes.
    number : of the view, from 1.
    settings : as for `view`.
    """
    seed = json.dumps([sha256, number, identity(settings)], sort_keys=True)
    return random.Random(int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big"))


def base_size(size: int) -> int:
    """Return the pixels on the shorter side of the image that views of `size` pixels are taken from."""
    return round(size * OVERSAMPLING)


def extended(base: Image.Image) -> Image.Image:
    """Return the image with its mirror image around it, `MARGIN` of its shorter side on each side."""
    (width, height), margin = base.size, round(min(base.size) * MARGIN)
    wide = Image.new(base.mode, (width + 2 * margin, height))
    mirrored = base.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for left, image in ((margin - width, mirrored), (margin, base), (margin + width, mirrored)):
        wide.paste(image, (left, 0))
    whole = Image.new(base.mode, (wide.width, height + 2 * margin))
    mirrored = wide.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    for upper, image in ((margin - height, mirrored), (margin, wide), (margin + height, mirrored)):
        whole.paste(image, (0, upper))
    return whole


def view(image: Image.Image, size: int, rng: random.Random, settings: Mapping[str, Any]) -> np.ndarray:
    """Return one augmented view: all that moves pixels is one affine map; then the colours change.

    Each setting takes its random numbers in a fixed order, also where it changes nothing.

    Parameters
    ----------
    image : what `extended` returned.
    size : pixels on each side of the view.
    rng : what `generator` returned.
    settings : flip (a key of `FLIPS`), rotation and shear (degrees), zoom and shift (shares of the size), crop_jitter
        (share of the way from the middle to the ends of the image's longer side), crop (the least share of the side
        that is kept), brightness, contrast and saturation (largest change of the factor 1), randaugment (the arguments
        of `randaugment.random_changes`), and the probability that each of these is applied.

    Returns
    -------
    uint8 array (size, size, 3), RGB.
    """
    settings = _applied(settings, rng)
    warp = _warp(image.size, size, rng, settings)
    moves = [_shear(rng, settings["shear"]), _crop(rng, settings["crop"])]
    factors = {name: 1 + rng.uniform(-1, 1) * settings[name] for name in ENHANCERS}
    # The last one, because the number of its random numbers is a setting.
    more_moves, changes = randaugment.random_changes(rng, **settings["randaugment"])
    affine = _affine(_moved(warp, moves + more_moves, size), size)
    shown = image.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    for name, factor in factors.items():
        if factor != 1:
            shown = ENHANCERS[name](shown).enhance(factor)
    for change in changes:
        shown = change(shown)
    return np.asarray(shown)


def _applied(settings: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return the settings of one view: each its own value with the probability, else the neutral one."""
    return {
        name: settings[name] if rng.random() < settings["probability"] else neutral for name, neutral in NEUTRAL.items()
    }


def _warp(image_size: tuple[int, int], size: int, rng: random.Random, settings: Mapping[str, Any]) -> Move:
    """Return flip, rotation, zoom, shift and crop jitter: from a pixel of the view to a pixel of the image.

    The view's pixel is relative to the view's middle.
    """
    width, height = image_size
    base = min(image_size) / (1 + 2 * MARGIN)
    horizontal, vertical = FLIPS[settings["flip"]]
    flip_x = -1 if rng.random() < 0.5 and horizontal else 1
    flip_y = -1 if rng.random() < 0.5 and vertical else 1
    angle = math.radians(rng.uniform(-1, 1) * settings["rotation"])
    # The same change in and out: 1 + zoom, or 1 / (1 + zoom).
    scale = base / size * (1 + settings["zoom"]) ** rng.uniform(-1, 1)
    a, b = flip_x * scale * math.cos(angle), -flip_x * scale * math.sin(angle)
    d, e = flip_y * scale * math.sin(angle), flip_y * scale * math.cos(angle)
    shift_x, shift_y = (rng.uniform(-1, 1) * settings["shift"] * base for _ in range(2))
    jitter = rng.uniform(-1, 1) * settings["crop_jitter"] / 2
    middle_x = width / 2 + shift_x + jitter * max(width - height, 0)
    middle_y = height / 2 + shift_y + jitter * max(height - width, 0)
    return Move(a, b, middle_x, d, e, middle_y)


def _shear(rng: random.Random, degrees: float) -> Move:
    return Move(b=math.tan(math.radians(rng.uniform(-1, 1) * degrees)))


def _crop(rng: random.Random, least: float) -> Move:
    share = rng.uniform(least, 1)
    left, upper = (rng.uniform(-1, 1) * (1 - share) / 2 for _ in range(2))
    return Move(a=share, c=left, e=share, f=upper)


def _moved(warp: Move, moves: list[Move], size: int) -> Move:
    """Return the warp of a view of `size` pixels after each of the moves, in their order."""
    for move in moves:
        a, b, c, d, e, f = warp
        warp = Move(
            a * move.a + b * move.d,
            a * move.b + b * move.e,
            c + size * (a * move.c + b * move.f),
            d * move.a + e * move.d,
            d * move.b + e * move.e,
            f + size * (d * move.c + e * move.f),
        )
    return warp


def _affine(warp: Move, size: int) -> tuple[float, ...]:
    """Return a, b, c, d, e, f of Pillow's AFFINE: pixel (x, y) of the view shows (ax + by + c, dx + ey + f)."""
    a, b, middle_x, d, e, middle_y = warp
    half = size / 2
    return a, b, middle_x - (a + b) * half, d, e, middle_y - (d + e) * half
