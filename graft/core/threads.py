"""Work on many items in threads, one a core, with results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Enough that no thread waits for a slow neighbour, few enough that memory does not grow with the number of items.
AHEAD = 16


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the items' order, computed in threads a few items ahead.

    The first exception of a call is raised in its turn; calls not yet begun are dropped then.
    """
    pending = deque()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            for item in items:
                pending.append(threads.submit(function, item))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
