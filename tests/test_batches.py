"""Batches: all examples in their order, and the next one read while this one is used."""

import itertools
import threading

import numpy as np

from graft.training.batches import Examples, mixup_weights, ordered_batches, shuffled_batches

# The map of an example holds its number and the epoch that it was read at.
EXAMPLES = Examples(lambda rows, epoch: np.stack([rows, np.full(len(rows), epoch)], axis=1), np.arange(100, 110))


def test_ordered_batches_have_one_size_and_what_fills_up_the_last_one_has_no_weight():
    batches = list(ordered_batches(EXAMPLES, 4))
    assert [list(maps[:, 0]) for maps, _, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]
    assert [list(labels - 100) for _, labels, _ in batches] == [list(maps[:, 0]) for maps, _, _ in batches]
    assert [list(weights) for _, _, weights in batches] == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert all(not maps[:, 1].any() for maps, _, _ in batches)
    assert {(labels.dtype, weights.dtype) for _, labels, weights in batches} == {(np.dtype("i4"), np.dtype("f4"))}


def test_a_batch_larger_than_all_examples_is_filled_up_too():
    ((maps, _, weights),) = ordered_batches(EXAMPLES, 25)
    assert list(maps[:, 0]) == [*range(10), *range(10), *range(5)]
    assert weights.sum() == 10


def order(epoch, seed):
    batches = list(shuffled_batches(EXAMPLES, epoch, 5, seed))
    assert all((maps[:, 1] == epoch).all() for maps, _, _ in batches)
    return [int(number) for maps, _, _ in batches for number in maps[:, 0]]


def test_the_order_of_shuffled_batches_depends_on_the_seed_and_the_epoch_alone():
    assert sorted(order(epoch=2, seed=0)) == list(range(10))
    assert order(epoch=2, seed=0) == order(epoch=2, seed=0)
    assert order(epoch=2, seed=0) != order(epoch=3, seed=0)
    assert order(epoch=2, seed=0) != order(epoch=2, seed=1)


def test_one_batch_is_read_ahead_in_another_thread():
    threads, second_read = [], threading.Event()

    def read(rows, epoch):
        threads.append(threading.current_thread())
        if len(threads) == 2:
            second_read.set()
        return rows

    batches = shuffled_batches(Examples(read, np.arange(12)), 0, 4, seed=0)
    next(batches)
    # Nobody has asked for the second batch yet.
    assert second_read.wait(60)
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    assert len(list(batches)) == 2


def test_mixup_draws_a_weight_for_each_step_and_an_example_keeps_the_larger_part():
    def weights(seed=0, epoch=2, mixup=0.2):
        return list(itertools.islice(mixup_weights(epoch, mixup, seed), 50))

    assert weights() == weights()
    assert weights() != weights(seed=1)
    assert weights() != weights(epoch=3)
    assert all(0.5 <= weight <= 1 for weight in weights())
    assert len(set(weights())) > 40
    assert weights(mixup=0.0) == [1] * 50
