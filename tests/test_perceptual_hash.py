"""The perceptual hash: the same for copies of a picture, another for other pictures."""

import io
import re

import pytest
from PIL import Image, ImageOps

from graft.data.perceptual_hash import grey_thumbnail, hash_and_neighbour, perceptual_hash

GREEN = (50, 180, 60)


@pytest.fixture(scope="module")
def pictures(draw_picture):
    return [draw_picture(GREEN, number, 96) for number in range(60)]


def test_it_has_six_hexadecimal_digits(pictures):
    assert all(re.fullmatch("[0-9a-f]{6}", perceptual_hash(picture)) for picture in pictures)


def test_a_smaller_copy_has_the_same(pictures):
    copies = [picture.resize((64, 64), Image.Resampling.LANCZOS) for picture in pictures]
    same = sum(
        perceptual_hash(copy) == perceptual_hash(picture) for copy, picture in zip(copies, pictures, strict=True)
    )
    assert same >= 0.9 * len(pictures)


def test_a_copy_saved_again_has_the_same(pictures):
    def saved_again(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        return Image.open(buffer)

    same = sum(perceptual_hash(saved_again(picture)) == perceptual_hash(picture) for picture in pictures)
    assert same >= 0.9 * len(pictures)


def test_a_brighter_copy_has_the_same(draw_picture):
    picture = draw_picture((120, 120, 120), 1, 96)
    assert perceptual_hash(picture.point(lambda value: value + 20)) == perceptual_hash(picture)


def test_other_pictures_have_others(pictures):
    assert len({perceptual_hash(picture) for picture in pictures}) == len(pictures)


def test_a_mirror_image_is_another_picture(pictures):
    assert all(perceptual_hash(ImageOps.mirror(picture)) != perceptual_hash(picture) for picture in pictures)


@pytest.mark.parametrize("colour", ["black", "white", (3, 77, 200)])
@pytest.mark.parametrize("size", [(1, 1), (24, 24), (100, 7)])
def test_a_single_colour_has_no_frequencies_whatever_it_is(colour, size):
    assert perceptual_hash(Image.new("RGB", size, colour)) == "000000"


def test_the_neighbour_differs_in_one_sign(pictures):
    for picture in pictures:
        own, neighbour = hash_and_neighbour(grey_thumbnail(picture))
        assert own == perceptual_hash(picture)
        assert (int(own, 16) ^ int(neighbour, 16)).bit_count() == 1


def test_copies_whose_hashes_differ_mostly_share_one_with_the_neighbours(pictures):
    copies = [picture.resize((40, 40), Image.Resampling.BILINEAR) for picture in pictures]
    pairs = [[hash_and_neighbour(grey_thumbnail(one)) for one in pair] for pair in zip(pictures, copies, strict=True)]
    differing = [pair for pair in pairs if pair[0][0] != pair[1][0]]
    assert differing
    assert sum(bool(set(one) & set(other)) for one, other in differing) >= 0.8 * len(differing)
