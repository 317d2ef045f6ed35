"""Work in threads: results in order, a few items ahead, and the first error in its turn."""

import threading
import time

import pytest

from graft.core.threads import AHEAD, in_order


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first():
    def slow_for_even(number):
        time.sleep(0.002 * (number % 2 == 0))
        return number * number

    assert list(in_order(slow_for_even, range(50))) == [number * number for number in range(50)]


def test_no_items_give_no_results():
    assert list(in_order(str, [])) == []


def test_only_a_few_items_are_taken_ahead_so_that_memory_stays_bounded():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(str, items())
    assert next(results) == "0"
    assert len(taken) <= AHEAD + 1
    results.close()


def test_the_work_is_done_beside_the_caller():
    names = set(in_order(lambda _: threading.current_thread().name, range(20)))
    assert threading.current_thread().name not in names


def test_the_first_error_comes_in_its_turn():
    def checked(number):
        if number >= 3:
            raise ValueError(f"number {number}")
        return number

    results = in_order(checked, range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number 3"):
        next(results)


def test_after_an_error_what_has_not_begun_is_dropped():
    begun = []

    def fails_first(number):
        begun.append(number)
        time.sleep(0.005)
        if number == 0:
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        list(in_order(fails_first, range(1000)))
    assert len(begun) <= AHEAD + 1
