"""Deterministic augmented views: what a view shows depends on the image, its number and the settings alone."""

import hashlib
import json
import math
import random
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageEnhance

from graft.images import randaugment
from graft.images.randaugment import Move

# The view is drawn from a picture somewhat larger than itself, so that turning and zooming in lose no sharpness.
OVERSAMPLING = 1.25
# Around the picture its mirror image goes on for this share of its size: what a shift or turn brings in.
MARGIN = 0.5
FLIPS = {"none": (False, False), "horizontal": (True, False), "vertical": (False, True), "both": (True, True)}
# What each setting is where it changes nothing. A setting that is left out is at rest.
AT_REST = {
    "flip": "none",
    "rotation": 0,
    "zoom": 0,
    "shift": 0,
    "crop_jitter": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "shear": 0,
    "crop": 1,
    "randaugment": {"count": 0, "magnitude": 0},
}
ALWAYS = 1
# Settings that came later: at rest they are no part of a view's identity, and the views of before are those of now.
LATER = {"crop_jitter": 0, "shear": 0, "crop": 1, "probability": ALWAYS, "randaugment": AT_REST["randaugment"]}
VERSION = "1"


def identity(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the part of the settings that views depend on."""
    if not settings.get("randaugment", {}).get("count"):
        settings = {**settings, "randaugment": LATER["randaugment"]}
    return {name: value for name, value in settings.items() if name not in LATER or value != LATER[name]}


def generator(sha256: str, number: int, settings: Mapping[str, object]) -> random.Random:
    """Return the generator that one view of one image is drawn from.

    Parameters
    ----------
    sha256 : of the image file's bytes.
    number : of the view, from 1.
    settings : of the augmentation.
    """
    seed = json.dumps([sha256, number, identity(settings)], sort_keys=True)
    return random.Random(int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big"))


def base_size(size: int) -> int:
    """Return the pixels on each side of the picture that views of `size` are drawn from."""
    return round(size * OVERSAMPLING)


def extended(base: Image.Image) -> Image.Image:
    """Return the picture with its mirror image around it, `MARGIN` of its shorter side on each side."""
    (width, height), margin = base.size, round(min(base.size) * MARGIN)
    wide = Image.new(base.mode, (width + 2 * margin, height))
    mirrored = base.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for left, picture in ((margin - width, mirrored), (margin, base), (margin + width, mirrored)):
        wide.paste(picture, (left, 0))
    whole = Image.new(base.mode, (wide.width, height + 2 * margin))
    mirrored = wide.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    for upper, picture in ((margin - height, mirrored), (margin, wide), (margin + height, mirrored)):
        whole.paste(picture, (0, upper))
    return whole


def view(picture: Image.Image, size: int, draw: random.Random, settings: Mapping[str, object]) -> np.ndarray:
    """Return one augmented view: warped once, all that moves pixels in one affine map, then changed in colour.

    Parameters
    ----------
    picture : what `extended` returned.
    size : pixels on each side of the view.
    draw : the view's own generator.
    settings : flip (none, horizontal, vertical, both), rotation and shear (degrees), zoom, shift (shares of the size),
        slide (share of what a picture that is no square has beside its middle one), crop (least share of the side that
        is kept), brightness, contrast, saturation (changes of the factor 1), randaugment (count and magnitude of
        `randaugment.drawn`), probability (that each of these is done at all).

    Returns
    -------
    uint8 array (size, size, 3), RGB.
    """
    settings = _done({**AT_REST, **settings}, draw)
    warp = _slid(_warp(picture.size, size, draw, settings), picture.size, draw, settings["crop_jitter"])
    moves = _moves(draw, settings)
    drawn_moves, drawn_changes = randaugment.drawn(draw, **settings["randaugment"])
    affine = _affine(_moved(warp, moves + drawn_moves, size), size)
    warped = picture.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    for enhancer, name in (
        (ImageEnhance.Brightness, "brightness"),
        (ImageEnhance.Contrast, "contrast"),
        (ImageEnhance.Color, "saturation"),
    ):
        factor = 1 + draw.uniform(-1, 1) * settings[name]
        if factor != 1:
            warped = enhancer(warped).enhance(factor)
    for change in drawn_changes:
        warped = change(warped)
    return np.asarray(warped)


def _done(settings: Mapping[str, object], draw: random.Random) -> Mapping[str, object]:
    """Return the settings of this one view: each at rest but with the probability that it is done."""
    probability = settings.get("probability", ALWAYS)
    if probability == ALWAYS:
        return settings
    done = {
        name: settings[name] if draw.random() < probability else rest
        for name, rest in AT_REST.items()
        if name != "crop_jitter"
    }
    # It came after `probability`: at rest it draws nothing, so that the views of before are those of now.
    done["crop_jitter"] = (
        settings["crop_jitter"] if settings["crop_jitter"] and draw.random() < probability else AT_REST["crop_jitter"]
    )
    return done


def _warp(picture_size: tuple[int, int], size: int, draw: random.Random, settings: Mapping[str, object]) -> Move:
    """Return flip, turn, zoom and shift: from a pixel of the view, from its middle, to a pixel of the picture."""
    width, height = picture_size
    base = min(picture_size) / (1 + 2 * MARGIN)
    may_mirror, may_turn_over = FLIPS[settings["flip"]]
    mirror = -1 if draw.random() < 0.5 and may_mirror else 1
    turn_over = -1 if draw.random() < 0.5 and may_turn_over else 1
    angle = math.radians(draw.uniform(-1, 1) * settings["rotation"])
    # The same share in and out: 1 + zoom, or 1 / (1 + zoom).
    scale = base / size * (1 + settings["zoom"]) ** draw.uniform(-1, 1)
    a, b = mirror * scale * math.cos(angle), -mirror * scale * math.sin(angle)
    d, e = turn_over * scale * math.sin(angle), turn_over * scale * math.cos(angle)
    middle_x = width / 2 + draw.uniform(-1, 1) * settings["shift"] * base
    middle_y = height / 2 + draw.uniform(-1, 1) * settings["shift"] * base
    return Move(a, b, middle_x, d, e, middle_y)


def _slid(warp: Move, picture_size: tuple[int, int], draw: random.Random, slide: float) -> Move:
    """Return the warp with its middle anywhere along the longer side. At rest it draws nothing, as `_moves`."""
    if not slide:
        return warp
    width, height = picture_size
    reach = draw.uniform(-1, 1) * slide / 2
    return warp._replace(c=warp.c + reach * max(width - height, 0), f=warp.f + reach * max(height - width, 0))


def _moves(draw: random.Random, settings: Mapping[str, object]) -> list[Move]:
    """Return shear and crop. At rest they draw nothing, so that they change no view that is without them."""
    moves = []
    if settings["shear"]:
        moves.append(Move(b=math.tan(math.radians(draw.uniform(-1, 1) * settings["shear"]))))
    if settings["crop"] < 1:
        share = draw.uniform(settings["crop"], 1)
        left, upper = (draw.uniform(-1, 1) * (1 - share) / 2 for _ in range(2))
        moves.append(Move(a=share, c=left, e=share, f=upper))
    return moves


def _moved(warp: Move, moves: list[Move], size: int) -> Move:
    """Return the warp of a view that is moved once more by each of the moves, in their order."""
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
