"""Progress where standard error is no terminal: an estimate, then a line at least every 30 seconds."""

import re
import sys
import time

import pytest

from graft.core import progress
from graft.core.progress import Progress, duration, reporting
from graft.core.quiet import hidden

SHORT = 0.05


@pytest.fixture
def often(monkeypatch):
    """Lines as often as a test can wait for."""
    for name, seconds in (("LOOK", SHORT), ("EVERY", 2 * SHORT), ("BEFORE_ESTIMATE", SHORT), ("LONG", SHORT)):
        monkeypatch.setattr(progress, name, seconds)


def slowly(number):
    for item in range(number):
        time.sleep(SHORT)
        yield item


@pytest.mark.usefixtures("often")
def test_the_first_line_is_an_estimate_and_the_next_ones_count(capfd):
    with reporting("extract"):
        assert list(Progress(slowly(20), "views", 1000)) == list(range(20))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert re.fullmatch(r"extract: views: \d+ of 1,000, about \d+ s to go", line)
    assert int(lines[0].split()[2]) < int(lines[-1].split()[2])


@pytest.mark.usefixtures("often")
def test_a_stage_that_counts_nothing_or_hides_the_messages_of_libraries_has_lines_too(capfd):
    with reporting("export"), hidden():
        time.sleep(6 * SHORT)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"export: still at work after 0 s"}


@pytest.mark.usefixtures("often")
def test_where_one_item_takes_long_the_lines_go_on(capfd):
    with reporting("fine_tune"), Progress(total=8, name="epochs") as bar:
        bar.update()
        time.sleep(6 * SHORT)
    assert capfd.readouterr().err.count("fine_tune: epochs: 1 of 8\n") >= 2


def test_short_work_has_no_line(capfd):
    with reporting("split"):
        assert sum(Progress(range(1000), "images")) == 499500
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("often")
def test_a_terminal_has_a_bar_and_no_lines(capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with reporting("extract"):
        list(Progress(slowly(6), "views", 6))
    printed = capfd.readouterr().err
    assert "views:" in printed
    assert "\n" not in printed.rstrip("\n")


def test_what_an_earlier_run_has_done_is_no_part_of_the_estimate(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(total=100, name="steps") as bar:
        bar.update()
        bar.skip_to(60)
        assert bar.seconds_left() is None
        for _ in range(11):
            bar.update()
            now[0] += 10
        # 10 steps in 110 s from the first one on.
        assert bar.line() == "steps: 71 of 100, about 5 min to go"
        bar.skip_to(50)
        assert bar.n == 71


def test_bytes_have_their_unit():
    with Progress(total=5_000_000, name="a.zip", unit="B") as bar:
        bar.update(1_500_000)
        assert bar.line() == "a.zip: 1.5 MB of 5.0 MB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (101, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_rounded(seconds, text):
    assert duration(seconds) == text
