"""benchmarks/scale.py: single stages on synthetic inputs, and what it says of their time and memory."""

import json
import shutil
import sys

import own_parameters
import pytest

from benchmarks import scale
from benchmarks.harness import projects

FIGURES = {
    "split": {
        "1000": {"seconds": 1.0, "peak_mib": 50.0, "private_mib": 40.0},
        "10000": {"seconds": 10.0, "peak_mib": 55.0, "private_mib": 45.0},
    },
    "extract": {"1000": {"seconds": 3.0, "peak_mib": 150.0, "private_mib": 90.0}},
}


def test_the_trend_is_the_exponent_of_the_time_and_how_many_times_as_large_the_memory_is():
    assert scale.trend(FIGURES["split"], 1000, 10_000) == pytest.approx((1.0, 1.1))


def test_the_table_has_a_line_for_each_stage():
    lines = scale.page(FIGURES).splitlines()
    assert lines[2] == "| split | 1.0 s, 50 MiB | 10.0 s, 55 MiB | 1.00 | 1.10 |"
    assert lines[3].startswith("| extract | 3.0 s, 150 MiB | - | ")


def test_the_results_have_each_size_and_the_two_limits():
    rows = list(scale.rows_of(FIGURES))
    assert [(row.kind, row.wanted) for row in rows] == [
        ("mib", None),
        ("mib", None),
        ("exponent", 1.05),
        ("growth", 1.2),
        ("mib", None),
    ]


def test_a_stage_is_measured_alone_and_a_second_call_goes_on_where_the_first_stopped(tmp_path, monkeypatch, capsys):
    parameters = own_parameters.FILE
    monkeypatch.setattr(projects, "write_parameters", lambda folder, _: shutil.copy(parameters, folder / "params.yaml"))
    arguments = ["--stage", "split", "--folder", str(tmp_path / "scale"), "--results", str(tmp_path / "results")]
    for sizes in (["80"], ["80", "120"]):
        monkeypatch.setattr(sys, "argv", ["scale", *arguments, "--images", *sizes])
        scale.main()
    assert capsys.readouterr().out.count("split, 80 images: ") == 1
    figures = json.loads((tmp_path / "scale/measured.json").read_text())
    assert set(figures["split"]) == {"80", "120"}
    (written,) = (tmp_path / "results").glob("*/scale.json")
    assert len(json.loads(written.read_text())["rows"]) == 4
    assert (tmp_path / "scale/80/split/data/split.csv").read_text().count("\n") == 81
