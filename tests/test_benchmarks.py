"""Benchmarks: pairs and their ratios, the options, the files of the figures and the page that is made of them."""

import json
import re
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import from_archive, learning_rate, new_images, report
from benchmarks.datasets import photographs
from benchmarks.harness import projects, results, sides
from benchmarks.harness.results import Row
from benchmarks.keras_side import two_step

ROOT = Path(__file__).resolve().parents[1]


def given(*arguments):
    return sides.parsed(sides.parser("What is measured."), [str(argument) for argument in arguments])


def row(**changes):
    figures = {"claim": "an epoch", "against": "fit", "kind": "times", "wanted": 4.0, "measured": [5.0, 3.0, 9.0]}
    return Row(**(figures | changes))


def measured(*rows, name="extract", **machine):
    return {
        "benchmark": name,
        "conditions": {"images": 3670, "photographs": "generated", "weights": "of a file"},
        "machine": {"processor": "A processor", "cores": 2, "memory_gib": 24, "system": "Linux"} | machine,
        "versions": {"python": "3.11"},
        "rows": [asdict(one) for one in rows],
    }


def test_no_benchmark_of_the_report_loads_tensorflow_to_measure():
    names = ", ".join(f"benchmarks.{name}" for name in report.BENCHMARKS)
    code = f"import sys, {names}; sys.exit('tensorflow' in sys.modules)"
    assert sides.run([sys.executable, "-c", code]).seconds > 0


def test_the_options_have_defaults_for_a_run_anywhere():
    options = given()
    assert (options.archive, options.weights, options.images, options.pairs) == (None, None, 3670, 3)


def test_a_count_below_one_is_refused(capsys):
    with pytest.raises(SystemExit):
        given("--pairs", 0)
    assert "0 is too few, give 1 or more" in capsys.readouterr().err


def test_an_archive_that_does_not_exist_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit):
        given("--archive", tmp_path / "absent.tar")
    assert "--archive: no file" in capsys.readouterr().err


def test_a_run_has_its_seconds_its_memory_and_its_output():
    code = "import time; block = b'1' * (100 << 20); time.sleep(0.3); print(len(block))"
    run = sides.run([sys.executable, "-c", code])
    assert 0.3 < run.seconds < 30
    assert 100 < run.peak_mib < 200
    assert run.output == f"{100 << 20}\n"


def test_memory_is_that_of_a_process_and_its_children_together():
    child = "import time; block = b'1' * (60 << 20); time.sleep(2)"
    parent = f"import subprocess, sys; block = b'1' * (60 << 20); subprocess.run([sys.executable, '-c', {child!r}])"
    run = sides.run([sys.executable, "-c", parent])
    assert run.peak_mib > 120
    assert run.private_mib > 120


def test_a_run_that_fails_is_an_error_with_its_last_output():
    with pytest.raises(RuntimeError, match=r"(?s)status 3.*sorry"):
        sides.run([sys.executable, "-c", "print('sorry'); raise SystemExit(3)"])


def test_sides_do_not_get_variables_that_could_change_them(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setenv("GRAFT_STORE", "elsewhere")
    seen = sides.environment(GRAFT_STORE="mine")
    assert "TF_ENABLE_ONEDNN_OPTS" not in seen
    assert seen["GRAFT_STORE"] == "mine"


def test_sides_take_turns_in_an_order_that_alternates():
    order = []
    calls = {side: lambda side=side: order.append(side) or sides.Run(1.0, 1.0, 1.0) for side in ("ours", "theirs")}
    took = sides.in_turn(calls, 3)
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert {side: len(runs) for side, runs in took.items()} == {"ours": 3, "theirs": 3}


def test_a_ratio_is_that_of_the_two_runs_of_a_pair():
    assert sides.ratios([10.0, 12.0], [2.0, 3.0]) == [5.0, 4.0]


def test_a_change_of_a_parameter_that_does_not_exist_is_an_error():
    assert projects.changed({"lr": 1, "head": {"C": 2, "kind": 3}}, {"head__C": 5}) == {
        "lr": 1,
        "head": {"C": 5, "kind": 3},
    }
    with pytest.raises(KeyError, match="rate"):
        projects.changed({"lr": 1}, {"rate": 5})


def test_the_shared_settings_are_keys_of_params_yaml(tmp_path, project, monkeypatch):
    monkeypatch.setattr(sides, "ROOT", project.folder)
    projects.write_parameters(tmp_path, projects.settings(Path("photos"), None, head__C=1.0, fine_tune__epochs=1))
    assert "dataset: photos\n" in (tmp_path / "params.yaml").read_text()


@pytest.mark.parametrize("count", [3, 100, 1000])
def test_one_row_in_a_hundred_is_new(count):
    lines = ["header", *map(str, range(count))]
    old, places = new_images.without_new(lines)
    assert old == ["header", *(str(place) for place in places)]
    assert count - len(places) == max(1, count // 100)


def epochs(step, seconds, **figures):
    return [{"step": step, "seconds": value, "start": 7.0} | figures for value in seconds]


def test_epochs_that_were_not_run_count_as_the_median_after_the_first():
    assert learning_rate.step_seconds(epochs(1, [9.0, 2.0, 4.0]), 1, epochs=5) == 9 + 2 + 4 + 3 + 3


def test_a_script_costs_its_start_its_epochs_and_an_evaluation():
    log = epochs(1, [3.0, 2.0]) + epochs(2, [5.0, 4.0], evaluation_seconds=1.5)
    assert learning_rate.script_seconds(log, (1, 2)) == 7 + (3 + 2 + 28 * 2) + (5 + 4 + 28 * 4) + 1.5
    assert learning_rate.script_seconds(log, (2,)) == 7 + (5 + 4 + 28 * 4) + 1.5


def scripts_log(*accuracies):
    return [{"step": 1, "epoch": n + 1, "test_accuracy": a} for n, a in enumerate(accuracies)]


def test_the_script_is_stopped_at_the_first_epoch_that_is_as_good():
    log = scripts_log(0.7, 0.9, 0.8, 0.95)
    assert two_step.reached(log, 0.9)["epoch"] == 2
    assert from_archive.epochs_needed(log, 0.9) == {1: 2, 2: 0}
    assert from_archive.outcome(log, 0.9) == "reached 0.9000 in epoch 2 of step 1"


def test_a_script_that_does_not_reach_the_accuracy_is_reported_so():
    log = scripts_log(0.7, 0.9, 0.8)
    assert two_step.reached(log, 0.91) is None
    assert from_archive.epochs_needed(log, 0.91) == {1: 3, 2: 0}
    assert from_archive.outcome(log, 0.91) == "not reached in 3 epochs frozen and 0 fine-tuned; the best one had 0.9000"


@pytest.mark.parametrize(("needed", "seconds"), [({1: 1, 2: 0}, 3), ({1: 4, 2: 0}, 9), ({1: 30, 2: 3}, 61 + 13)])
def test_the_epochs_that_the_script_needs_take_what_those_of_a_pair_took(needed, seconds):
    log = epochs(1, [3.0, 2.0]) + epochs(2, [5.0, 4.0], evaluation_seconds=1.5)
    assert from_archive.seconds_of(log, needed) == 7 + seconds + 1.5


def test_the_second_step_goes_on_until_the_script_has_had_its_seconds():
    # Start-up, 30 epochs frozen and an evaluation: 7 + 3 + 29 * 2 + 1.5 s; an epoch fine-tuned is 4 s, the first 5 s.
    log = epochs(1, [3.0, 2.0]) + epochs(2, [5.0, 4.0], evaluation_seconds=1.5)
    assert from_archive.second_step(log, 69.5 + 5 + 49 * 4) == 50
    assert from_archive.second_step(log, 69.5 + 5 + 49 * 4 + 1) == 51
    assert from_archive.second_step(log, 100) == 30


def test_an_archive_is_unpacked_to_folders_of_parts(tmp_path):
    photographs.bring(tmp_path / "made", given("--images", 5))
    archive = photographs.packed(tmp_path / "made", tmp_path / "photographs.tar")
    parts = {"class_0/000000.jpg": "train", "class_3/000003.jpg": "test"}
    two_step.unpack(archive, parts, tmp_path / "parts")
    unpacked = {path.relative_to(tmp_path / "parts").as_posix() for path in (tmp_path / "parts").rglob("*.jpg")}
    assert unpacked == {"train/class_0/000000.jpg", "test/class_3/000003.jpg"}
    with tarfile.open(archive) as members:
        assert len(members.getnames()) > len(unpacked)


def test_figures_are_written_without_paths_and_with_four_digits(tmp_path):
    archive = tmp_path / "secret.tar"
    archive.touch()
    options = given("--results", tmp_path / "results", "--archive", archive)
    results.write("extract", options, [row(measured=[1.23456], peak_mib=[2.0, 3.0])])
    (path,) = (tmp_path / "results").glob("*/extract.json")
    assert path.parent.name == results.folder_name(results.processor())
    text = path.read_text()
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert json.loads(text)["rows"][0]["measured"] == [1.235]
    assert [one["benchmark"] for one in report.read(tmp_path / "results")] == ["extract"]


def test_the_processor_is_named_with_its_model_and_avx512(tmp_path):
    facts = "processor : 0\nmodel name\t: A Chip\ncpu family\t: 25\nmodel\t\t: 1\nflags\t\t: fpu avx2\n"
    (tmp_path / "cpuinfo").write_text(facts)
    assert results.processor(tmp_path / "cpuinfo") == "A Chip (family 25 model 1), without AVX-512"


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, "| at least 4 x faster | 5.0 x (3.0 x to 9.0 x) | 3 | - | - |"),
        ({"seconds": [1.0, 5.25], "peak_mib": [100.4, 2000]}, "| 3 | 1.0 / 5.2 | 100 / 2000 |"),
        ({"wanted": None, "measured": [2.0]}, "| - | 2.0 x | 1 |"),
        ({"at_least": True, "measured": [12.0]}, "| more than 12.0 x | 1 |"),
        ({"kind": "share", "wanted": 0.05, "measured": [0.031]}, "| at most 5% of the time | 3.1% | 1 |"),
        ({"kind": "distance", "wanted": 1e-4, "measured": [2e-6]}, "| at most 1e-04 | 2.0e-06 | 1 |"),
        ({"kind": "mib", "wanted": 2048, "measured": [512.3]}, "| under 2048 MiB | 512 MiB | 1 |"),
    ],
)
def test_a_line_of_the_table_has_the_limit_and_the_figure(changes, cells):
    assert cells in report.line(asdict(row(**changes)), [])


def test_lines_with_the_same_note_share_it():
    page = report.page([measured(row(note="one split"), row(claim="another", note="one split"))])
    assert page.count("one split") == 1
    assert page.count(" (1) |") == 2


def test_benchmarks_of_one_machine_share_its_line_and_others_have_their_own():
    page = report.page(
        [measured(row()), measured(row(), name="memory"), measured(row(), name="learning_rate", cores=8)]
    )
    assert "- extract, memory: 3,670 images, generated, weights of MobileNetV2 of a file; A processor, 2 cores" in page
    assert "- learning_rate: 3,670 images, generated, weights of MobileNetV2 of a file; A processor, 8 cores" in page
    assert (
        "Not measured here: new_images, fine_tune_epoch, from_archive, predict_start, predict_many, interpreters, "
        "hub_features, int8, ray_workers." in page
    )


def test_each_processor_has_a_table_of_its_own():
    page = report.page([measured(row(claim="one")), measured(row(claim="two"), processor="Another")])
    first, second = page.split("## A processor\n")[1].split("## Another\n")
    assert [claim in first for claim in ("| one |", "| two |")] == [True, False]
    assert [claim in second for claim in ("| one |", "| two |")] == [False, True]


def test_a_gpu_has_a_table_of_its_own_after_those_of_the_processors(tmp_path):
    options = given("--results", tmp_path)
    assert results.write("gpu", options, [row(claim="on a card")], gpu="A card") == tmp_path / "gpu.json"
    results.write("extract", options, [row(claim="on the CPU")])
    cpu, gpu = report.page(report.read(tmp_path)).split("## A card\n")
    assert "| on the CPU |" in cpu
    assert "| on a card |" in gpu
    assert f"random; A card; {results.processor()}" in gpu
    assert "Not measured here" not in gpu


def test_without_a_gpu_its_benchmark_says_so_and_writes_nothing(tmp_path):
    done = sides.python("benchmarks.gpu", "--results", tmp_path, CUDA_VISIBLE_DEVICES="-1")
    assert done.output == "benchmarks.gpu: not run on a GPU, for TensorFlow sees none; nothing is written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_with_a_cpu_in_its_place(tmp_path):
    small = ("--images", 40, "--size", 32, "--batch-size", 8, "--results", tmp_path, "--allow-cpu")
    done = sides.python("benchmarks.gpu", *small, CUDA_VISIBLE_DEVICES="-1")
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert [one["claim"] for one in written["rows"] if one["kind"] == "distance" and one["measured"][0] > 1e-3] == []
    assert len(written["rows"]) == 4
    assert report.section(report.title(written), [written]) in done.output


def test_a_folder_is_called_by_the_processor():
    assert results.folder_name("A(R) Chip  (family 25), with AVX-512") == "a-r-chip-family-25-with-avx-512"


def test_make_runs_every_benchmark_of_the_report():
    listed = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert tuple(listed) == report.BENCHMARKS
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in listed)


def test_the_readme_lists_every_script_and_no_other():
    folder = ROOT / "benchmarks"
    listed = re.findall(r"^\| (\w+) \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    scripts = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert sorted(name for name in listed if name != "script") == sorted(scripts)


def test_the_page_in_git_is_the_one_that_the_figures_give():
    if not report.PAGE.is_file():
        pytest.skip("nothing was measured yet")
    assert report.PAGE.read_text(encoding="utf-8") == report.page(report.read(sides.RESULTS))
