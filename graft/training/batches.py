"""Batches of stored maps: their order, their size, and the reading ahead."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")
# Maps or tokens, float16 or float32 (size, ...); labels, int32 (size,); weights, float32 (size,).
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


class Examples(NamedTuple):
    """Maps and labels that are read a batch at a time.

    Attributes
    ----------
    read : callable
        ``read(rows, epoch)`` returns the maps or tokens of some examples, float16 or float32 (rows, ...).
        `rows` is an int64 array of indices into `labels`. `epoch` counts from 0 and decides which view is read. A
        thread of its own calls it while the network computes the batch before.
    labels : int array (examples,)
        The class of each example, from 0.
    """

    read: Callable[[np.ndarray, int], np.ndarray]
    labels: np.ndarray


def shuffled_batches(examples: Examples, epoch: int, size: int, seed: int) -> Iterator[Batch]:
    """Yield all examples once, in an order that depends on the seed and the epoch.

    All batches have `size` rows. The last one is filled up with examples of weight 0; all others have weight 1. One
    batch and the one after it are in memory.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(examples.labels))
    return _read_ahead(_batches(examples, order, epoch, size))


def ordered_batches(examples: Examples, size: int) -> Iterator[Batch]:
    """Yield all examples once, in their own order, read at epoch 0; otherwise as `shuffled_batches`."""
    return _read_ahead(_batches(examples, np.arange(len(examples.labels)), 0, size))


def mixup_weights(epoch: int, mixup: float, seed: int) -> Iterator[np.float32]:
    """Yield for each step of an epoch the weight that mixup gives to an example itself; the other one has the rest.

    Parameters
    ----------
    epoch : from 0.
    mixup : the weight is a random number of Beta(mixup, mixup), or 1 minus it where that is larger: it is
        from 0.5 to 1, so that the example's own label counts most. 0 gives 1, for no mixup.
    seed : of the weights.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    while True:
        weight = generator.beta(mixup, mixup) if mixup else 1
        yield np.float32(max(weight, 1 - weight))


def _batches(examples: Examples, rows: np.ndarray, epoch: int, size: int) -> Iterator[Batch]:
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        weights = (np.arange(size) < len(chosen)).astype(np.float32)
        # One size for all: TensorFlow compiles a step again for each shape.
        chosen = np.resize(chosen, size)
        yield examples.read(chosen, epoch), examples.labels[chosen].astype(np.int32), weights


def _read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of an iterator; a thread gets the next one meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item
