"""Augmented views: what a view shows depends on the image, its number and the settings, and on nothing else."""

import numpy as np
import pytest
from PIL import Image

from stages.parts import augment

SIZE = 32
STILL = {"flip": "none", "rotation": 0, "zoom": 0, "shift": 0, "brightness": 0, "contrast": 0, "saturation": 0}
LIVELY = dict.fromkeys(STILL, 0.2) | {"flip": "both", "rotation": 20}
IMAGE = "ab" * 32


@pytest.fixture
def picture(draw_picture):
    return draw_picture((120, 90, 60), 1, augment.base_size(SIZE))


@pytest.fixture
def view(picture):
    """Return a function of (number, settings, image) that gives a view of the picture as whole numbers."""
    extended = augment.extended(picture)

    def viewed(number, sha256=IMAGE, **settings):
        settings = STILL | settings
        pixels = augment.view(extended, SIZE, augment.generator(sha256, number, settings), settings)
        assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
        return pixels.astype(int)

    return viewed


def test_a_view_is_the_same_each_time_and_in_any_order(view):
    first = [view(number, **LIVELY) for number in (1, 2, 3)]
    again = [view(number, **LIVELY) for number in (3, 1, 2)]
    np.testing.assert_array_equal(first, [again[1], again[2], again[0]])


def test_every_view_and_every_image_is_drawn_anew(view):
    views = [view(1, **LIVELY), view(2, **LIVELY), view(1, "cd" * 32, **LIVELY)]
    assert all((one != other).any() for one in views for other in views if one is not other)


def test_a_view_does_not_depend_on_the_order_of_the_settings():
    draws = [augment.generator(IMAGE, 1, dict(items)).random() for items in (LIVELY.items(), reversed(LIVELY.items()))]
    assert draws[0] == draws[1]


def test_views_do_not_depend_on_pythons_hash_seed(run_python):
    script = f"from stages.parts.augment import generator; print(generator('{IMAGE}', 1, {STILL}).random())"
    numbers = {run_python("-c", script, PYTHONHASHSEED=seed).stdout for seed in ("0", "1")}
    assert numbers == {f"{augment.generator(IMAGE, 1, STILL).random()}\n"}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_without_changes_a_view_is_the_picture_itself_up_to_resampling(view, picture, number):
    itself = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(view(number) - itself).mean() < 2


@pytest.mark.parametrize(
    ("flip", "mirrors"),
    [
        ("horizontal", [lambda pixels: pixels, lambda pixels: pixels[:, ::-1]]),
        ("vertical", [lambda pixels: pixels, lambda pixels: pixels[::-1]]),
        (
            "both",
            [
                lambda pixels: pixels,
                lambda pixels: pixels[:, ::-1],
                lambda pixels: pixels[::-1],
                lambda pixels: pixels[::-1, ::-1],
            ],
        ),
    ],
)
def test_a_flip_is_an_exact_mirror_image_and_each_comes_equally_often(view, flip, mirrors):
    still = view(1)
    counts = [0] * len(mirrors)
    views = [view(number, flip=flip) for number in range(1, 201)]
    for pixels in views:
        matches = [np.array_equal(pixels, mirror(still)) for mirror in mirrors]
        assert matches.count(True) == 1
        counts[matches.index(True)] += 1
    share = len(views) / len(mirrors)
    assert all(abs(count - share) < 0.4 * share for count in counts)


@pytest.mark.parametrize("setting", [name for name in STILL if name != "flip"])
def test_every_setting_changes_the_view_and_more_of_it_changes_more(view, setting):
    unit = 100 if setting == "rotation" else 1
    still = view(1)
    little, much = (
        np.mean([np.abs(view(number, **{setting: value * unit}) - still).mean() for number in range(1, 20)])
        for value in (0.02, 0.4)
    )
    assert 0 < little < much


def test_a_shift_moves_by_no_more_than_its_share(draw_picture):
    base = augment.base_size(SIZE)
    spot = np.zeros((base, base, 3), np.uint8)
    spot[base // 2 - 2 : base // 2 + 2, base // 2 - 2 : base // 2 + 2] = 255
    extended, settings = augment.extended(Image.fromarray(spot)), STILL | {"shift": 0.2}
    offsets = []
    for number in range(1, 60):
        pixels = augment.view(extended, SIZE, augment.generator(IMAGE, number, settings), settings)[..., 0]
        rows, columns = np.nonzero(pixels > 127)
        offsets += [(rows.mean() + 0.5 - SIZE / 2) / SIZE, (columns.mean() + 0.5 - SIZE / 2) / SIZE]
    assert max(map(abs, offsets)) <= 0.2 + 1 / SIZE
    assert max(offsets) > 0.12
    assert min(offsets) < -0.12


def test_beyond_the_edge_the_mirror_image_goes_on_and_nothing_is_black():
    white = augment.extended(Image.new("RGB", (augment.base_size(SIZE),) * 2, "white"))
    settings = STILL | {"shift": 0.4, "zoom": 0.1}
    for number in range(1, 30):
        assert augment.view(white, SIZE, augment.generator(IMAGE, number, settings), settings).min() == 255


def test_the_extended_picture_has_the_picture_in_its_middle():
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., np.newaxis].repeat(3, axis=2)
    extended = np.asarray(augment.extended(Image.fromarray(pixels)))[..., 0]
    np.testing.assert_array_equal(extended[2:6, 2:6], pixels[..., 0])
    np.testing.assert_array_equal(extended[2, :], [1, 0, 0, 1, 2, 3, 3, 2])


def test_a_view_never_changes_the_picture(picture):
    extended = augment.extended(picture)
    before = np.asarray(extended).copy()
    augment.view(extended, SIZE, augment.generator(IMAGE, 1, LIVELY), LIVELY)
    np.testing.assert_array_equal(np.asarray(extended), before)
