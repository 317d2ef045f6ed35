"""Augmented views: what a view shows depends only on the image, its number and the settings."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graft.images import augmentation

SIZE = 32
SHARES = ("rotation", "zoom", "shift", "brightness", "contrast", "saturation")
STILL = augmentation.NEUTRAL | {"probability": 1}
LIVELY = (
    STILL | dict.fromkeys(SHARES, 0.2) | {"flip": "both", "rotation": 20, "shear": 10, "crop": 0.8, "crop_jitter": 1}
)
IMAGE = "ab" * 32


@pytest.fixture
def picture(draw_picture):
    return draw_picture((120, 90, 60), 1, augmentation.base_size(SIZE))


@pytest.fixture
def view(picture):
    """Return a function of (number, settings, image) that gives a view of the picture as whole numbers."""
    extended = augmentation.extended(picture)

    def viewed(number, sha256=IMAGE, **settings):
        settings = STILL | settings
        pixels = augmentation.view(extended, SIZE, augmentation.generator(sha256, number, settings), settings)
        assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
        return pixels.astype(int)

    return viewed


def test_a_view_is_the_same_each_time_and_in_any_order(view):
    first = [view(number, **LIVELY) for number in (1, 2, 3)]
    again = [view(number, **LIVELY) for number in (3, 1, 2)]
    np.testing.assert_array_equal(first, [again[1], again[2], again[0]])


SHARE, SIDE = st.floats(0, 0.99), st.integers(8, 60)
# The ranges of params.yaml.
SETTINGS = st.fixed_dictionaries(
    {
        "flip": st.sampled_from(list(augmentation.FLIPS)),
        "rotation": st.floats(0, 180),
        "shear": st.floats(0, 45),
        "crop": st.floats(1e-3, 1),
        "crop_jitter": st.floats(0, 1),
        "probability": st.floats(0, 1),
        "randaugment": st.fixed_dictionaries({"count": st.integers(0, 5), "magnitude": st.floats(0, 30)}),
        **dict.fromkeys(("zoom", "shift", "brightness", "contrast", "saturation"), SHARE),
    }
)


@given(SETTINGS, st.tuples(SIDE, SIDE), SIDE, st.integers(1, 1000))
def test_whatever_the_settings_a_view_has_its_size_and_depends_on_image_number_and_settings(
    settings, image_size, size, number
):
    noise = np.random.default_rng(0).integers(0, 256, (image_size[1], image_size[0], 3), np.uint8)
    extended = augmentation.extended(Image.fromarray(noise))
    first, again = (
        augmentation.view(extended, size, augmentation.generator(IMAGE, number, settings), settings)
        for settings in (settings, dict(reversed(settings.items())))
    )
    assert (first.shape, first.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_array_equal(first, again)


def test_every_view_of_every_image_is_another_one(view):
    views = [view(1, **LIVELY), view(2, **LIVELY), view(1, "cd" * 32, **LIVELY)]
    assert all((one != other).any() for one in views for other in views if one is not other)


def test_a_view_does_not_depend_on_the_order_of_the_settings():
    draws = [
        augmentation.generator(IMAGE, 1, dict(items)).random() for items in (LIVELY.items(), reversed(LIVELY.items()))
    ]
    assert draws[0] == draws[1]


def test_views_do_not_depend_on_pythons_hash_seed(run_python):
    script = f"from graft.images.augmentation import generator; print(generator('{IMAGE}', 1, {STILL}).random())"
    numbers = {run_python("-c", script, PYTHONHASHSEED=seed).stdout for seed in ("0", "1")}
    assert numbers == {f"{augmentation.generator(IMAGE, 1, STILL).random()}\n"}


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


@pytest.mark.parametrize("setting", SHARES)
def test_every_setting_changes_the_view_and_more_of_it_changes_more(view, setting):
    unit = 100 if setting == "rotation" else 1
    still = view(1)
    little, much = (
        np.mean([np.abs(view(number, **{setting: value * unit}) - still).mean() for number in range(1, 20)])
        for value in (0.02, 0.4)
    )
    assert 0 < little < much


def test_a_shift_moves_by_no_more_than_its_share(draw_picture):
    base = augmentation.base_size(SIZE)
    spot = np.zeros((base, base, 3), np.uint8)
    spot[base // 2 - 2 : base // 2 + 2, base // 2 - 2 : base // 2 + 2] = 255
    extended, settings = augmentation.extended(Image.fromarray(spot)), STILL | {"shift": 0.2}
    offsets = []
    for number in range(1, 60):
        pixels = augmentation.view(extended, SIZE, augmentation.generator(IMAGE, number, settings), settings)[..., 0]
        rows, columns = np.nonzero(pixels > 127)
        offsets += [(rows.mean() + 0.5 - SIZE / 2) / SIZE, (columns.mean() + 0.5 - SIZE / 2) / SIZE]
    assert max(map(abs, offsets)) <= 0.2 + 1 / SIZE
    assert max(offsets) > 0.12
    assert min(offsets) < -0.12


def test_beyond_the_edge_the_mirror_image_goes_on_and_nothing_is_black():
    white = augmentation.extended(Image.new("RGB", (augmentation.base_size(SIZE),) * 2, "white"))
    settings = STILL | {"shift": 0.4, "zoom": 0.1}
    for number in range(1, 30):
        assert augmentation.view(white, SIZE, augmentation.generator(IMAGE, number, settings), settings).min() == 255


def test_the_extended_picture_has_the_picture_in_its_middle():
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., np.newaxis].repeat(3, axis=2)
    extended = np.asarray(augmentation.extended(Image.fromarray(pixels)))[..., 0]
    np.testing.assert_array_equal(extended[2:6, 2:6], pixels[..., 0])
    np.testing.assert_array_equal(extended[2, :], [1, 0, 0, 1, 2, 3, 3, 2])


@pytest.fixture
def middle_of():
    """Return a function of (crop jitter, image size, settings): where 59 views of a grey ramp have their middle.

    The ramp goes along the longer side; the place is a share of that side, from the image's middle.
    """

    def shown(jitter, size, **settings):
        along = np.linspace(0, 255, max(size)).astype(np.uint8)
        ramp = np.tile(along, (min(size), 1)) if size[0] > size[1] else np.tile(along[:, np.newaxis], min(size))
        extended, settings = augmentation.extended(Image.fromarray(np.stack([ramp] * 3, axis=-1))), STILL | settings
        settings["crop_jitter"] = jitter
        views = [
            augmentation.view(extended, SIZE, augmentation.generator(IMAGE, number, settings), settings)
            for number in range(1, 60)
        ]
        return [
            pixels[SIZE // 2 - 1 : SIZE // 2 + 1, SIZE // 2 - 1 : SIZE // 2 + 1].mean() / 255 - 0.5 for pixels in views
        ]

    return shown


@pytest.mark.parametrize("size", [(80, 40), (40, 80)])
def test_crop_jitter_moves_a_view_along_the_longer_side_to_both_ends(middle_of, size):
    # Twice as long as wide: the middle of a square at the end is a quarter of the length from the middle.
    for jitter in (1, 0.5):
        middles = middle_of(jitter, size)
        assert max(map(abs, middles)) <= jitter / 4 + 0.01
        assert min(middles) < -0.2 * jitter
        assert max(middles) > 0.2 * jitter


def test_crop_jitter_moves_a_turned_view_along_the_image_too(middle_of):
    middles = middle_of(1, (80, 40), rotation=180)
    assert max(map(abs, middles)) <= 0.26
    assert np.ptp(middles) > 0.4


@pytest.mark.parametrize("size", [(80, 40), (40, 80)])
def test_a_view_without_crop_jitter_stays_in_the_middle(middle_of, size):
    assert middle_of(0, size) == pytest.approx([0] * 59, abs=0.01)


def test_crop_jitter_leaves_a_square_image_as_it_is(view):
    np.testing.assert_array_equal(view(1, crop_jitter=1), view(1))


def test_a_view_never_changes_the_picture(picture):
    extended = augmentation.extended(picture)
    before = np.asarray(extended).copy()
    augmentation.view(extended, SIZE, augmentation.generator(IMAGE, 1, LIVELY), LIVELY)
    np.testing.assert_array_equal(np.asarray(extended), before)


def test_randaugment_without_changes_does_nothing_whatever_its_magnitude(view):
    strong = {"randaugment": {"count": 0, "magnitude": 30}}
    assert augmentation.identity(LIVELY | strong) == augmentation.identity(LIVELY)
    np.testing.assert_array_equal(view(1, **LIVELY | strong), view(1, **LIVELY))


@pytest.mark.parametrize("name", STILL)
def test_views_depend_on_every_setting(name):
    changed = {"flip": "horizontal", "randaugment": {"count": 1, "magnitude": 9}}.get(name, 0.5)
    settings = (LIVELY, LIVELY | {name: changed})
    assert len({augmentation.generator(IMAGE, 1, each).random() for each in settings}) == 2


@pytest.mark.parametrize("name", [name for name in STILL if name not in ("brightness", "randaugment", "probability")])
def test_a_setting_takes_as_many_random_numbers_whatever_its_value(name):
    # Of one grey, only the brightness can be seen.
    grey = augmentation.extended(Image.new("RGB", (augmentation.base_size(SIZE),) * 2, (100, 100, 100)))
    shown = [
        augmentation.view(grey, SIZE, random.Random(3), settings)
        for settings in (STILL | {"brightness": 0.5}, STILL | {"brightness": 0.5, name: LIVELY[name]})
    ]
    assert shown[0].min() != 100
    np.testing.assert_array_equal(*shown)


@pytest.mark.parametrize(("little", "much"), [({"shear": 2}, {"shear": 30}), ({"crop": 0.95}, {"crop": 0.4})])
def test_shear_and_crop_change_the_view_and_more_of_it_changes_more(view, little, much):
    still = view(1)
    changes = [
        np.mean([np.abs(view(number, **setting) - still).mean() for number in range(1, 20)])
        for setting in (little, much)
    ]
    assert 0 < changes[0] < changes[1]


def test_a_shear_slants_columns_and_leaves_rows_where_they_are(view_of):
    rows = np.repeat(np.arange(40, dtype=np.uint8) * 6, 40).reshape(40, 40)
    np.testing.assert_array_equal(view_of(rows, shear=45), view_of(rows))
    assert (view_of(rows.T, shear=45) != view_of(rows.T)).any()


def test_a_crop_shows_a_part_from_inside_the_picture_that_has_the_least_share_or_more(view_of):
    # A ramp from left to right: its values say which columns a view shows. A quarter of the margin's mirror image would
    # turn the ramp round.
    ramp = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    shares = []
    for number in range(1, 60):
        row = view_of(ramp, number, crop=0.5)[16].astype(int)
        assert (np.diff(row) >= 0).all()
        shares.append((row[-1] - row[0]) / 234)
    assert min(shares) >= 0.5 - 2 / SIZE
    assert min(shares) < 0.6
    assert max(shares) > 0.9


@pytest.fixture
def view_of():
    """Return a function of (grey pixels, number, settings) that gives a view of them, one channel."""

    def viewed(pixels, number=1, **settings):
        extended = augmentation.extended(Image.fromarray(np.stack([pixels] * 3, axis=-1)))
        settings = STILL | settings
        return augmentation.view(extended, SIZE, augmentation.generator(IMAGE, number, settings), settings)[..., 0]

    return viewed


@pytest.mark.parametrize("probability", [0.25, 0.75])
def test_each_setting_is_applied_with_the_probability(view, probability):
    still = view(1)
    for setting in (
        {"rotation": 20},
        {"crop": 0.5},
        {"brightness": 0.9},
        {"randaugment": {"count": 5, "magnitude": 20}},
    ):
        views = [view(number, probability=probability, **setting) for number in range(1, 201)]
        done = np.mean([(pixels != still).any() for pixels in views])
        assert done == pytest.approx(probability, abs=0.12), setting


def test_with_probability_0_a_view_is_the_picture_itself(view):
    lively = LIVELY | {"probability": 0, "randaugment": {"count": 3, "magnitude": 30}}
    np.testing.assert_array_equal(view(1, **lively), view(1))


def test_settings_are_left_out_one_by_one_and_not_together(view):
    flips = [view(number, probability=0.5, flip="horizontal", brightness=0.5) for number in range(1, 101)]
    still = view(1)
    mirrored = [np.corrcoef(pixels.ravel(), still.ravel())[0, 1] < 0.99 for pixels in flips]
    # Of the mirrored ones some are as bright as before, and some are not.
    bright = [abs(pixels.mean() - still.mean()) > 2 for pixels, flipped in zip(flips, mirrored, strict=True) if flipped]
    assert 0 < sum(bright) < len(bright)


def test_randaugment_moves_pixels_within_the_one_warp(view):
    settings = {"randaugment": {"count": 2, "magnitude": 20}}
    views = [view(number, **settings) for number in range(1, 30)]
    assert len({pixels.tobytes() for pixels in views}) > 20


def test_the_mirror_image_around_a_picture_is_numpys(draw_picture):
    for size in (2, 5, 32):
        picture, margin = draw_picture((120, 90, 60), 3, size), round(size * augmentation.MARGIN)
        padded = np.pad(np.asarray(picture), ((margin, margin), (margin, margin), (0, 0)), "symmetric")
        np.testing.assert_array_equal(np.asarray(augmentation.extended(picture)), padded)


@pytest.mark.parametrize("size", [(9, 6), (6, 9), (30, 6)])
def test_the_margin_is_as_wide_on_every_side_of_a_picture_that_is_no_square(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    padded = np.pad(pixels, ((3, 3), (3, 3), (0, 0)), "symmetric")
    np.testing.assert_array_equal(np.asarray(augmentation.extended(Image.fromarray(pixels))), padded)


def test_crop_jitter_is_applied_with_the_probability(middle_of):
    middles = middle_of(1, (80, 40), probability=0.5)
    still = np.mean([abs(middle) < 0.01 for middle in middles])
    # A few of those that move hardly do.
    assert still == pytest.approx(0.5, abs=0.2)
