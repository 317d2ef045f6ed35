"""Progress of long work: a bar on a terminal, and lines elsewhere, such as in a log of CI or of a queued experiment."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from graft.core.byte_sizes import readable

# Seconds: between two lines, at most; of work before the first estimate; between two looks; and from which estimate on
# it is printed.
EVERY, BEFORE_ESTIMATE, LOOK, LONG = 30.0, 3.0, 1.0, 30.0
# Counts that are no part of the estimate: the first step of training also compiles, and the batch after it is read
# ahead.
WARM_UP = 2
# The bars of this process that are not closed, the innermost last.
_open: list["Progress"] = []


class Progress(tqdm):  # type: ignore[type-arg]
    """A bar of tqdm on a terminal. Elsewhere it only counts, and `reporting` prints lines about it.

    Parameters
    ----------
    items : to go through; None where `update` counts.
    name : of the items.
    total : how many there are; None if that is not known.
    unit : B for bytes, else empty.
    quiet : whether to show no bar.
    """

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        name: str = "",
        total: int | None = None,
        unit: str = "",
        quiet: bool = False,
    ) -> None:
        # disable=None: on a terminal alone.
        disable = True if quiet else None
        super().__init__(items, name, total, unit=unit, unit_scale=bool(unit), leave=False, disable=disable)
        self._name, self._unit = name, unit
        if total is None and isinstance(items, Sized):
            self.total = len(items)
        self._first: tuple[float, float] | None = None
        self._counts = 0
        self.announced = False
        _open.append(self)

    def __iter__(self) -> Iterator[Any]:
        if not self.disable:
            yield from super().__iter__()
            return
        with self:
            for item in self.iterable:
                yield item
                self.update()

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` more items."""
        if not self.disable:
            return super().update(n)
        self.n += n or 0
        self._counts += 1
        if self._counts > WARM_UP:
            self._first = self._first or (time.monotonic(), self.n)
        return None

    def skip_to(self, n: float) -> None:
        """Set the count; what it grows by has taken no time and is left out of the estimate."""
        if n > self.n:
            self.update(n - self.n)
            self._first, self._counts = None, 0

    def close(self) -> None:
        """Remove the bar."""
        if self in _open:
            _open.remove(self)
        super().close()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = tqdm.__hash__

    def seconds_left(self) -> float | None:
        """Return an estimate from the items counted so far; None while there is none."""
        if self._first is None or not self.total:
            return None
        began, n = self._first
        seconds = time.monotonic() - began
        return (self.total - self.n) * seconds / (self.n - n) if self.n > n and seconds >= BEFORE_ESTIMATE else None

    def line(self) -> str:
        """Return how far it is, such as "views: 120 of 3,600, about 2 min to go"."""
        left, of = self.seconds_left(), f" of {self._number(self.total)}" if self.total else ""
        return f"{self._name}: {self._number(self.n)}{of}" + ("" if left is None else f", about {duration(left)} to go")

    def _number(self, n: float) -> str:
        return readable(int(n)) if self._unit == "B" else f"{int(n):,}"


def duration(seconds: float) -> str:
    """Return a number of seconds in words, such as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def reporting(name: str) -> Iterator[None]:
    """Print a line to standard error at least every 30 seconds while the block runs, unless it is a terminal.

    The first line says how long the work will take on this machine, by what the first seconds have done; short work has
    no line. It is printed even where the block hides what libraries write to standard error.

    Parameters
    ----------
    name : of the stage, the first word of each line.
    """
    if sys.stderr is None or sys.stderr.isatty():
        yield
        return
    ended, output = threading.Event(), os.dup(sys.stderr.fileno())
    thread = threading.Thread(target=_report, args=(name, ended, output), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(output)


def _report(name: str, ended: threading.Event, output: int) -> None:
    started = last = time.monotonic()
    while not ended.wait(LOOK):
        now, bar = time.monotonic(), next(reversed(_open), None)
        estimate = bar.seconds_left() if bar and not bar.announced else None
        if bar and estimate is not None:
            bar.announced = True
        if now - last >= EVERY - LOOK or (estimate is not None and estimate >= LONG):
            text = bar.line() if bar else f"still at work after {duration(now - started)}"
            try:
                os.write(output, f"{name}: {text}\n".encode())
            except OSError:
                # Nobody reads it any more.
                return
            last = now
