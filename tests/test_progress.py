"""Progress where standard error is no terminal: an estimate, then a line at least every 30 seconds."""

import re
import sys
import time

import pytest

from graft.core import progress
from graft.core.progress import Progress, duration, reporting
from graft.core.quiet import hidden
from graft.core.stage import run_stage

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
def test_the_estimate_is_the_first_line_and_comes_early(capfd, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 600)
    with reporting("extract"):
        assert list(Progress(slowly(20), "views", 1000)) == list(range(20))
    (line,) = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"extract: views: \d+ of 1,000, about \d+ (s|min) to go", line)


@pytest.mark.usefixtures("often")
def test_the_lines_count_what_is_done(capfd):
    with reporting("extract"):
        list(Progress(slowly(20), "views", 1000))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 3
    counts = [int(re.match(r"extract: views: (\d+) of 1,000", line)[1]) for line in lines]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


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


@pytest.mark.usefixtures("often", "project")
def test_a_stage_is_called_by_the_name_of_its_script(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/stages/extract.py"])
    with pytest.raises(SystemExit):
        run_stage(lambda: time.sleep(6 * SHORT))
    assert "extract: still at work after " in capfd.readouterr().err


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
        # 8 steps in 90 s from the third one on.
        assert bar.line() == "steps: 71 of 100, about 5 min to go"
        bar.skip_to(50)
        assert bar.n == 71


def test_the_first_steps_which_compile_are_no_part_of_the_estimate(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(total=300, name="steps") as bar:
        bar.update()
        bar.update()
        now[0] += 20
        assert bar.seconds_left() is None
        for _ in range(5):
            bar.update()
            now[0] += 1
        # 4 steps in 5 s since the third one, which was counted after 20 s.
        assert bar.line() == "steps: 7 of 300, about 6 min to go"


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
