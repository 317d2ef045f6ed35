"""Work on many items in threads, one for each CPU that the process may use, with the results in order."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items taken ahead for each thread: enough that no thread waits for a slow one, few enough to bound the memory.
AHEAD = 8
# Linux: the control groups, and those that this process is in.
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the items' order, computed in threads `AHEAD` items ahead.

    The first exception of a call is raised in its turn; then calls that have not begun are dropped.
    """
    pending: deque[Future[Result]] = deque()
    count = usable_cpus()
    with ThreadPoolExecutor(count) as threads:
        try:
            for item in items:
                pending.append(threads.submit(function, item))
                if len(pending) > AHEAD * count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def usable_cpus(cgroups: Path = CGROUPS, own_cgroups: Path = OWN_CGROUPS) -> int:
    """Return how many CPUs this process may use, at least 1.

    It is the number of CPUs that the process may run on, or the CPU quota of its control groups (of a container, or of
    a batch job), rounded up, where that is less.

    Parameters
    ----------
    cgroups, own_cgroups : where Linux shows the control groups (version 1 or 2), and those of this process.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(cgroups, own_cgroups))]))


def _quotas(cgroups: Path, own_cgroups: Path) -> Iterator[float]:
    """Yield the quota, in CPUs, of each control group that limits this process."""
    lines = own_cgroups.read_text().splitlines() if own_cgroups.is_file() else []
    # NUMBER:CONTROLLERS:PATH; version 2 has no controllers there.
    for _, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers or "cpu" in controllers.split(","):
            root, path = cgroups / ("cpu" if controllers else ""), PurePosixPath(group)
            for part in (path, *path.parents):
                if quota := _quota(root / str(part).lstrip("/")):
                    yield quota


def _quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(int(quota), 0) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        # No such file, or "max": no limit.
        return None
