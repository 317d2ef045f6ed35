"""Work in threads: results in order, a few items ahead, and the first error in its turn; how many CPUs there are."""

import os
import threading
import time

import pytest

from graft.core import threads
from graft.core.threads import AHEAD, in_order, usable_cpus


@pytest.fixture
def cpus(monkeypatch):
    """Return a function that sets the number of usable CPUs."""
    return lambda count: monkeypatch.setattr(threads, "usable_cpus", lambda: count)


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first():
    def slow_for_even(number):
        time.sleep(0.002 * (number % 2 == 0))
        return number * number

    assert list(in_order(slow_for_even, range(50))) == [number * number for number in range(50)]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_the_results_do_not_depend_on_the_number_of_threads(cpus, count):
    cpus(count)
    assert list(in_order(str, range(100))) == [str(number) for number in range(100)]


def test_no_items_give_no_results():
    assert list(in_order(str, [])) == []


@pytest.mark.parametrize("count", [1, 3])
def test_only_a_few_items_for_each_thread_are_taken_ahead_so_that_memory_stays_bounded(cpus, count):
    cpus(count)
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(str, items())
    assert next(results) == "0"
    assert len(taken) == AHEAD * count + 1
    results.close()


def test_all_threads_work_at_the_same_time_however_many_there_are(cpus):
    cpus(40)
    together = threading.Barrier(40)
    # Every call waits until forty of them have begun.
    assert list(in_order(lambda item: together.wait(timeout=10) >= 0, range(40))) == [True] * 40


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


def test_after_an_error_calls_that_have_not_begun_are_dropped(cpus):
    cpus(2)
    begun = []

    def fails_first(number):
        begun.append(number)
        time.sleep(0.005)
        if number == 0:
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        list(in_order(fails_first, range(1000)))
    assert len(begun) <= 2 * AHEAD + 1


V1 = "4:cpu,cpuacct:"


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {}, 32),
        ("0::/", {"cpu.max": "max 100000"}, 32),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "6400000 100000"}, 32),
        # A part of a CPU is one more thread, and no less than one.
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "10000 100000"}, 1),
        # The limits of the groups around it count too.
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000"}, 3),
        # In a container, the path of the group on the host may be one that does not exist.
        ("0::/docker/0123", {"cpu.max": "200000 100000"}, 2),
        # A name may have colons.
        ("0::/X:1", {"cpu.max": "max 100000", "X:1/cpu.max": "200000 100000"}, 2),
        (f"{V1}/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 32),
        (f"{V1}/", {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "50000"}, 5),
        (f"{V1}/a", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("7:memory:/a", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 32),
        ("0::/", {"cpu.max": "broken"}, 32),
        ("broken", {"cpu.max": "200000 100000"}, 32),
    ],
)
def test_the_usable_cpus_are_bounded_by_the_quota_of_the_control_group(tmp_path, monkeypatch, group, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(32)), raising=False)
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    (tmp_path / "self").write_text(f"11:pids:/\n{group}\n")
    assert usable_cpus(tmp_path / "cgroup", tmp_path / "self") == expected


def test_without_control_groups_the_usable_cpus_are_those_that_the_process_may_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == 3
    # Of a system without such a setting, all CPUs.
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to a CPU")
def test_a_process_bound_to_one_cpu_uses_one(run_python):
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    script += "from graft.core.threads import usable_cpus; print(usable_cpus())"
    assert run_python("-c", script).stdout == "1\n"
