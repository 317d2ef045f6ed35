"""Requests of views: those of an image come together, so that its file is decoded once."""

from pathlib import Path

from graft.activations.requests import Request, by_image


def request(image, view=0):
    return Request(Path(f"{image}.jpg"), image, view)


def test_the_requests_of_an_image_come_together_in_the_order_of_the_first_ones():
    wanted = [request("b"), request("a"), request("b", 1), request("a", 2)]
    assert list(by_image(wanted)) == [[request("b"), request("b", 1)], [request("a"), request("a", 2)]]


def test_only_so_many_requests_are_taken_before_the_first_image_is_given():
    taken = []

    def endless():
        for number in range(1000):
            taken.append(number)
            yield request(str(number // 2), number % 2)

    images = by_image(endless(), window=10)
    assert next(images) == [request("0"), request("0", 1)]
    assert len(taken) == 10
    assert len(list(images)) == 499
