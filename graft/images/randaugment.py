"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719): a few of fourteen changes at random, all of one magnitude.

The changes and their strengths are those of AutoAugment (Cubuk et al. 2019, arXiv 1805.09501, table 6). A change that
moves pixels is a `Move`: it becomes part of the view's one affine map.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageEnhance, ImageOps

# The magnitude at which a change has its full strength.
FULL = 30
# Full strength: of a turn in degrees; of a shear as its tangent; of a shift as a share of the side (150 pixels of 331);
# of colour, contrast, brightness and sharpness as the change of the factor 1; of posterising as the bits removed.
TURN, SHEAR, SHIFT, FACTOR, BITS = 30, 0.3, 150 / 331, 0.9, 4


class Move(NamedTuple):
    """An affine map: pixel (x, y) of the view shows what was at (ax + by + c, dx + ey + f).

    Positions are relative to the middle of the view; c and f are shares of its side.
    """

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 1.0
    f: float = 0.0


Change = Callable[[Image.Image], Image.Image]


def _turned(strength: float) -> Move:
    angle = math.radians(TURN * strength)
    return Move(a=math.cos(angle), b=-math.sin(angle), d=math.sin(angle), e=math.cos(angle))


# A strength runs from -1 to 1.
MOVES: dict[str, Callable[[float], Move]] = {
    "rotate": _turned,
    "shear_x": lambda strength: Move(b=SHEAR * strength),
    "shear_y": lambda strength: Move(d=SHEAR * strength),
    "translate_x": lambda strength: Move(c=SHIFT * strength),
    "translate_y": lambda strength: Move(f=SHIFT * strength),
}


def _enhanced(enhancer: type) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: enhancer(image).enhance(1 + FACTOR * strength)


CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, strength: image,
    "auto_contrast": lambda image, strength: ImageOps.autocontrast(image),
    "equalize": lambda image, strength: ImageOps.equalize(image),
    "solarize": lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    "posterize": lambda image, strength: ImageOps.posterize(image, 8 - round(BITS * abs(strength))),
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
}
NAMES = (*MOVES, *CHANGES)


def random_changes(rng: random.Random, count: int, magnitude: float) -> tuple[list[Move], list[Change]]:
    """Return `count` of the fourteen changes, chosen at random: those that move pixels, and the others.

    Parameters
    ----------
    rng : the random generator.
    count : how many, from 0. A change may come twice.
    magnitude : of each of them, to a random side: from 0 (none) to `FULL`.
    """
    moves, changes = [], []
    for _ in range(count):
        name = rng.choice(NAMES)
        strength = rng.choice((-1, 1)) * magnitude / FULL
        if name in MOVES:
            moves.append(MOVES[name](strength))
        else:
            changes.append(_with_strength(CHANGES[name], strength))
    return moves, changes


def _with_strength(change: Callable[[Image.Image, float], Image.Image], strength: float) -> Change:
    return lambda image: change(image, strength)
