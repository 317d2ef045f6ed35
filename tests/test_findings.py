"""Findings: copies, under two labels or in two parts too, and images unlike the others in light, detail and size."""

import numpy as np
import pytest

from graft.data.findings import CHECKS, Finding, find_copies, find_odd, find_outliers
from graft.data.split import leaks

FIRST = "aa" + "0" * 62


def image(path, sha256=FIRST, group=FIRST[:16], label="roses", part="train"):
    return {"path": path, "label": label, "split": part, "sha256": sha256, "group": group}


def other_hash(number):
    return f"bb{number:062d}"


def test_images_without_copies_are_no_findings():
    assert find_copies([image(f"{number}.jpg", other_hash(number), str(number)) for number in range(5)]) == []


def test_a_copy_is_a_pair_with_the_picture_that_it_is_a_copy_of():
    images = [
        image("small.jpg", other_hash(1)),
        image("large.jpg"),
        image("same.jpg"),
        image("small2.jpg", other_hash(1)),
    ]
    assert find_copies(images) == [
        Finding("exact_copy", "same.jpg", "large.jpg"),
        Finding("exact_copy", "small2.jpg", "small.jpg"),
        Finding("near_copy", "small.jpg", "large.jpg"),
    ]


def test_a_copy_with_another_label_is_one_more_finding_with_the_label_of_its_picture():
    found = find_copies([image("a.jpg"), image("b.jpg", label="tulips")])
    assert found == [
        Finding("exact_copy", "b.jpg", "a.jpg"),
        Finding("copy_with_other_label", "b.jpg", "a.jpg", "roses"),
    ]


def test_a_copy_in_a_later_part_is_one_more_finding_with_the_part_of_the_earlier_one():
    images = [
        image("a.jpg", part="test"),
        image("b.jpg"),
        image("c.jpg", part="validation"),
        image("d.jpg", part="test"),
    ]
    assert [finding for finding in find_copies(images) if finding.finding == "copy_in_other_part"] == [
        Finding("copy_in_other_part", "a.jpg", "b.jpg", "train"),
        Finding("copy_in_other_part", "c.jpg", "b.jpg", "train"),
        Finding("copy_in_other_part", "d.jpg", "b.jpg", "train"),
    ]


def test_where_the_picture_itself_was_left_out_its_copies_are_still_pairs():
    images = [image("a.jpg", other_hash(1)), image("b.jpg", other_hash(2))]
    assert find_copies(images) == [Finding("near_copy", "b.jpg", "a.jpg")]


def test_a_copy_of_a_test_image_in_another_part_is_one_warning_with_the_count():
    images = [
        image("a.jpg", part="test"),
        image("b.jpg"),
        image("c.jpg", part="test"),
        image("d.jpg", group="d", part="test"),
    ]
    (warning,) = leaks(images)
    assert warning.startswith("split: 2 of 3 test images have a copy in the training or validation part (a.jpg, c.jpg)")


def test_copies_within_one_part_are_no_leak():
    assert leaks([image("a.jpg", part="test"), image("b.jpg", part="test"), image("c.jpg", group="c")]) == []


def usual(count=40):
    """Return statistics of photographs that differ a little."""
    random = np.random.default_rng(0)
    return [
        {
            "path": f"{number}.jpg",
            "width": str(640 + random.integers(-40, 40)),
            "height": str(480 + random.integers(-40, 40)),
            "brightness": str(random.normal(0.5, 0.05)),
            "sharpness": str(1000 * 2 ** random.normal(0, 0.5)),
            "entropy": str(random.normal(7, 0.3)),
        }
        for number in range(count)
    ]


ODD = {
    "dark": {"brightness": "0.05"},
    "bright": {"brightness": "0.95"},
    "blurred": {"sharpness": "3"},
    "low_information": {"entropy": "0.4"},
    "odd_size": {"width": "64", "height": "48"},
    "odd_shape": {"width": "1024", "height": "200"},
}


def test_usual_photographs_are_not_odd():
    assert find_odd(usual()) == []


@pytest.mark.parametrize("kind", CHECKS)
def test_an_image_is_odd_that_is_unlike_the_others_in_one_way(kind):
    rows = usual()
    rows[7] |= ODD[kind]
    found = [finding for finding in find_odd(rows) if finding.finding == kind]
    shown = "{width} x {height}".format(**ODD[kind]) if "width" in ODD[kind] else next(iter(ODD[kind].values()))
    assert found == [Finding(kind, "7.jpg", value=shown)]


def test_an_image_is_not_odd_where_all_are_like_it():
    assert find_odd([row | ODD["dark"] | ODD["odd_size"] for row in usual()]) == []


def test_small_differences_between_equal_images_do_not_count():
    rows = [row | {"width": "224", "height": "224", "entropy": "6"} for row in usual()]
    rows[3] |= {"width": "230", "entropy": "5.5"}
    assert find_odd(rows) == []


def test_the_oddest_image_comes_first():
    rows = usual()
    rows[3] |= {"brightness": "0.15"}
    rows[5] |= {"brightness": "0.02"}
    assert [finding.path for finding in find_odd(rows)] == ["5.jpg", "3.jpg"]


def test_outliers_are_far_from_all_classes_and_the_farthest_comes_first():
    distances = np.append(np.random.default_rng(0).normal(30, 2, 60), [90, 300])
    found = find_outliers([f"{number}.jpg" for number in range(62)], distances)
    assert found == [Finding("outlier", "61.jpg", value="300"), Finding("outlier", "60.jpg", value="90")]


def test_without_any_distance_there_is_no_outlier():
    assert find_outliers([], np.empty(0)) == []
