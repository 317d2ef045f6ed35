"""RandAugment: fourteen changes, each as likely as another, as strong as the magnitude says."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from graft.images import randaugment
from graft.images.randaugment import FULL, Move


@pytest.fixture
def picture(draw_picture):
    return draw_picture((120, 90, 60), 1)


def pixels(image):
    return np.asarray(image).astype(int)


def test_there_are_the_fourteen_changes_of_the_paper():
    assert len(randaugment.NAMES) == len(set(randaugment.NAMES)) == 14


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_there_are_as_many_changes_as_asked_for(count):
    moves, changes = randaugment.random_changes(random.Random(0), count, 9)
    assert len(moves) + len(changes) == count


def test_equal_generators_give_equal_changes(picture):
    both = [randaugment.random_changes(random.Random(7), 6, 20) for _ in range(2)]
    assert both[0][0] == both[1][0]
    for one, other in zip(both[0][1], both[1][1], strict=True):
        np.testing.assert_array_equal(pixels(one(picture)), pixels(other(picture)))


def test_moves_and_other_changes_come_as_often_as_there_are_of_them():
    rng = random.Random(0)
    counts = Counter(len(randaugment.random_changes(rng, 1, 9)[0]) for _ in range(2000))
    assert counts[1] / 2000 == pytest.approx(5 / 14, abs=0.04)


@pytest.mark.parametrize("name", randaugment.MOVES)
def test_a_move_without_strength_is_none_and_its_sides_are_opposite(name):
    move = randaugment.MOVES[name]
    assert move(0.0) == Move()
    there, back = (np.array(move(strength)).reshape(2, 3) for strength in (1.0, -1.0))
    inverse = np.vstack([there, [0, 0, 1]]) @ np.vstack([back, [0, 0, 1]])
    assert (there != back).any()
    # Two shears, turns or shifts to opposite sides are nothing.
    np.testing.assert_allclose(inverse, np.eye(3), atol=1e-12)


KEPT_AT_ALL_MAGNITUDES = ("identity",)
WITHOUT_STRENGTH = ("auto_contrast", "equalize")


@pytest.mark.parametrize("name", [name for name in randaugment.CHANGES if name not in WITHOUT_STRENGTH])
def test_a_change_without_strength_leaves_every_pixel(picture, name):
    np.testing.assert_array_equal(pixels(randaugment.CHANGES[name](picture, 0.0)), pixels(picture))


@pytest.mark.parametrize("name", [name for name in randaugment.CHANGES if name not in KEPT_AT_ALL_MAGNITUDES])
@pytest.mark.parametrize("strength", [-1.0, 1.0])
def test_a_change_of_full_strength_is_seen(picture, name, strength):
    changed = randaugment.CHANGES[name](picture, strength)
    assert (changed.mode, changed.size) == ("RGB", picture.size)
    assert (pixels(changed) != pixels(picture)).any()


@pytest.mark.parametrize(
    ("name", "strength", "grey", "expected"),
    [
        ("solarize", 0.5, 200, 55),  # from 128 on, pixels are inverted
        ("solarize", 0.5, 100, 100),
        ("posterize", 1.0, 0b10110111, 0b10110000),  # four bits are left
        ("posterize", 0.5, 0b10110111, 0b10110100),
        ("brightness", 1.0, 100, 190),
        ("brightness", -1.0, 100, 10),
    ],
)
def test_a_grey_picture_becomes_the_grey_that_the_paper_gives(name, strength, grey, expected):
    picture = Image.new("RGB", (4, 4), (grey,) * 3)
    assert pixels(randaugment.CHANGES[name](picture, strength)).max() == pytest.approx(expected, abs=1)


def test_the_magnitude_runs_to_thirty():
    rng = random.Random(3)
    angles = [move for _ in range(500) for move in randaugment.random_changes(rng, 1, FULL)[0] if move.a < 1]
    assert np.degrees(np.arccos([move.a for move in angles])) == pytest.approx(30)
    rng = random.Random(3)
    thirds = [move for _ in range(500) for move in randaugment.random_changes(rng, 1, FULL / 3)[0] if move.a < 1]
    assert np.degrees(np.arccos([move.a for move in thirds])) == pytest.approx(10)
