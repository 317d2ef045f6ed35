"""Which view of an image an epoch sees."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from graft.images.view_order import view_in_epoch

IMAGES = [hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]


def test_every_view_of_an_image_is_seen_in_turn():
    for sha256 in IMAGES:
        assert sorted(view_in_epoch(sha256, epoch, 3) for epoch in range(4)) == [0, 1, 2, 3]
        assert view_in_epoch(sha256, 4, 3) == view_in_epoch(sha256, 0, 3)


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 10_000), st.integers(0, 50))
def test_as_many_epochs_as_there_are_views_see_each_once_wherever_they_start(sha256, first, views):
    seen = [view_in_epoch(sha256, epoch, views) for epoch in range(first, first + views + 1)]
    assert sorted(seen) == list(range(views + 1))


def test_an_epoch_sees_different_views_of_different_images():
    assert {view_in_epoch(sha256, 0, 3) for sha256 in IMAGES} == {0, 1, 2, 3}


def test_without_views_it_is_the_image_itself():
    assert {view_in_epoch(sha256, epoch, 0) for sha256 in IMAGES for epoch in range(3)} == {0}
