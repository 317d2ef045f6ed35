"""Copies of a picture are found whatever was done to the file; pictures that only look alike are not copies."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from graft.data.copies import DECODED_SIDE, LARGE, Fingerprints, fingerprint
from graft.images.loader import decode

SIZE = (320, 240)
COUNT = 120
PICTURES = 40
LANCZOS = Image.Resampling.LANCZOS


def scene(number, size=SIZE):
    """Return a picture with coarse and fine structure, other for each number."""
    random = np.random.default_rng(number)
    coarse, fine = (random.integers(0, 255, (*cells, 3)).astype(np.uint8) for cells in ((5, 7), (40, 50)))
    layers = [Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC) for cells in (coarse, fine)]
    return Image.blend(*layers, 0.25)


def saved(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def trimmed(picture, share):
    left, top = round(picture.width * share), round(picture.height * share)
    return picture.crop((left, top, picture.width - left, picture.height - top))


def resized(picture, width, height):
    return picture.resize((width, height), LANCZOS)


def firsts(contents):
    """Return for each picture the number of the first one that it is a copy of, or its own."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Fingerprints(Path(folder, "fingerprints"))
        for number, content in enumerate(contents):
            # Of equal sizes, the smallest SHA-256 is the first.
            pictures.add(fingerprint(decode(content, DECODED_SIDE, "")), 1, f"{number:064}")
        found = pictures.first_copies()
    return np.array([found[number].number if number in found else number for number in range(len(contents))])


def pictures_found(contents):
    return len(set(firsts(contents)))


@pytest.fixture(scope="module")
def originals():
    return [saved(scene(number), quality=92) for number in range(PICTURES)]


COPIES = {
    "quality 75": lambda picture: saved(picture, quality=75),
    "half the size": lambda picture: saved(resized(picture, 160, 120), quality=90),
    "half the size, quality 75": lambda picture: saved(resized(picture, 160, 120), quality=75),
    "squashed": lambda picture: saved(resized(picture, 224, 224), quality=90),
    "PNG": lambda picture: saved(picture, "PNG", compress_level=1),
    "WebP": lambda picture: saved(picture, "WEBP", quality=80),
}


@pytest.mark.parametrize("name", COPIES)
def test_of_a_picture_saved_again_nearly_all_copies_are_found(originals, name):
    copies = [COPIES[name](Image.open(io.BytesIO(content))) for content in originals]
    found = firsts(originals + copies)
    assert np.mean(found[PICTURES:] == np.arange(PICTURES)) >= 0.97
    # No picture is a copy of another one.
    assert (found[:PICTURES] == np.arange(PICTURES)).all()


@pytest.mark.parametrize(("share", "expected"), [(0.005, 0.75), (0.01, 0.6)])
def test_with_a_little_cut_off_the_edges_most_copies_are_found(originals, share, expected):
    copies = [saved(trimmed(Image.open(io.BytesIO(content)), share), quality=90) for content in originals]
    assert np.mean(firsts(originals + copies)[PICTURES:] == np.arange(PICTURES)) >= expected


@pytest.mark.parametrize("side", [64, 32])
def test_copies_of_small_pictures_are_found(side):
    small = [resized(scene(number), side, side) for number in range(PICTURES)]
    contents = [saved(picture, quality=quality) for quality in (95, 75) for picture in small]
    assert np.mean(firsts(contents)[PICTURES:] == np.arange(PICTURES)) >= 0.85


def test_a_jpeg_whose_sides_are_no_multiple_of_the_decoders_fractions_is_found_as_png():
    contents = []
    for number in range(10):
        original = saved(scene(number, (1003, 669)))
        contents += [original, saved(Image.open(io.BytesIO(original)), "PNG", compress_level=1)]
    assert pictures_found(contents) == 10


def with_defect(background, random, diameter):
    picture, (x, y) = background.copy(), random.uniform((20, 20), (300, 220))
    colour = tuple((np.array(background.getpixel((int(x), int(y)))) + random.choice([-50, 50])).clip(0, 255).tolist())
    box = (x - diameter / 2, y - diameter / 2, x + diameter / 2, y + diameter / 2)
    ImageDraw.Draw(picture).ellipse(box, fill=colour)
    return saved(with_noise(picture, random), quality=90)


def with_noise(picture, random):
    values = np.asarray(picture, np.float64)
    return Image.fromarray((values + random.normal(0, 2, values.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("diameter", [24, 12, 8])
def test_pictures_of_one_background_with_a_small_defect_each_are_no_copies(diameter):
    random = np.random.default_rng(diameter)
    assert pictures_found([with_defect(scene(1), random, diameter) for _ in range(COUNT)]) >= 100


def test_pictures_of_one_background_with_nothing_else_are_copies():
    random = np.random.default_rng(0)
    assert pictures_found([saved(with_noise(scene(1), random), quality=90) for _ in range(COUNT)]) == 1


def test_plain_colours_are_no_copies_of_each_other():
    random = np.random.default_rng(0)
    colours = [tuple(random.integers(0, 256, 3).tolist()) for _ in range(COUNT)]
    assert pictures_found([saved(Image.new("RGB", (64, 64), colour)) for colour in colours]) >= 110


def test_a_plain_colour_saved_again_is_a_copy():
    picture = Image.new("RGB", (64, 64), (200, 90, 30))
    assert pictures_found([saved(picture, "PNG"), saved(picture, quality=75), saved(resized(picture, 32, 32))]) == 1


def test_a_parking_place_with_other_cars_in_changing_light_gives_no_copies():
    random = np.random.default_rng(0)
    contents = []
    for number in range(COUNT):
        picture = scene(2)
        for place in np.flatnonzero(random.random(12) < 0.5):
            x, y = 20 + place % 6 * 48, 60 + place // 6 * 90
            car = tuple(random.integers(0, 255, 3).tolist())
            ImageDraw.Draw(picture).rectangle((x, y, x + 30, y + 50), fill=car)
        contents.append(saved(picture.point(lambda level, gain=0.6 + number / 300: level * gain), quality=90))
    assert pictures_found(contents) == COUNT


def test_slow_changes_do_not_make_one_picture_of_all():
    gains = np.linspace(0.5, 1, COUNT)
    frames = [saved(scene(2).point(lambda level, gain=gain: level * gain), quality=90) for gain in gains]
    # Neighbours are copies, the first and the last are not.
    assert 10 <= pictures_found(frames) < COUNT


def test_objects_on_black_are_no_copies():
    random = np.random.default_rng(0)
    contents = []
    for _ in range(COUNT):
        picture, angles = Image.new("RGB", SIZE), np.linspace(0, 2 * np.pi, 8, endpoint=False)
        radii = random.uniform(30, 60) * random.uniform(0.8, 1.2, 8)
        corners = np.column_stack([160 + radii * np.cos(angles), 120 + radii * np.sin(angles)]).ravel().tolist()
        ImageDraw.Draw(picture).polygon(corners, fill=tuple(random.integers(80, 255, 3).tolist()))
        contents.append(saved(picture, quality=90))
    assert pictures_found(contents) >= 110


def test_an_object_of_another_colour_and_the_same_grey_level_is_no_copy():
    contents = []
    for colour in ((200, 60, 60), (30, 133, 90)):
        picture = scene(1)
        ImageDraw.Draw(picture).rectangle((100, 80, 150, 130), fill=colour)
        contents.append(saved(picture, "PNG"))
    assert pictures_found(contents) == 2


def test_of_identical_pictures_all_are_copies_of_the_first():
    assert set(firsts([saved(scene(1))] * 30)) == {0}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (8, 8)])
def test_pictures_of_a_few_pixels_have_fingerprints(size):
    assert pictures_found([saved(scene(number, size), "PNG") for number in (1, 2, 1)]) <= 2


def test_whether_two_are_copies_does_not_depend_on_the_others(originals):
    random = np.random.default_rng(0)
    defects = [with_defect(scene(number % 2), random, 8) for number in range(PICTURES)]
    alone, among = firsts(defects), firsts(defects + originals)
    assert (alone == among[: len(defects)]).all()


def test_a_saved_copy_of_a_large_picture_may_differ_by_few_levels_and_of_a_small_one_by_more():
    levels = [fingerprint(Image.new("RGB", (side, side))).levels for side in (1000, LARGE, 64, 16)]
    assert levels == [8, 8, 20, 40]


def test_no_pictures_have_no_copies():
    assert len(firsts([])) == 0
