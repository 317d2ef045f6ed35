"""Benchmarks: pairs and their ratios, the options, the figures' files and the page that is made of them."""

import json
import re
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    few_images,
    from_archive,
    keras_two_step,
    learning_rate,
    letters,
    new_images,
    other_sets,
    photographs,
    projects,
    report,
    results,
    sides,
)
from benchmarks.results import Row

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


def test_no_benchmark_loads_tensorflow_to_measure():
    code = "import sys; from benchmarks import extract, memory, from_archive; sys.exit('tensorflow' in sys.modules)"
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


def test_a_run_tells_its_seconds_its_memory_and_what_was_printed():
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


def test_a_run_that_fails_is_an_error_with_what_it_said_last():
    with pytest.raises(RuntimeError, match=r"(?s)status 3.*sorry"):
        sides.run([sys.executable, "-c", "print('sorry'); raise SystemExit(3)"])


def test_sides_do_not_see_what_would_change_them(monkeypatch):
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


def test_items_are_chosen_evenly():
    assert photographs.spread("abcdefgh", 4) == ["a", "c", "e", "g"]
    assert photographs.spread("ab", 4) == ["a", "b"]


def test_images_are_generated_in_classes_of_one_size(tmp_path):
    options = given("--images", 10)
    paths = photographs.bring(tmp_path, options)
    assert [path.relative_to(tmp_path).as_posix() for path in paths][:3] == [
        "class_0/000000.jpg",
        "class_0/000005.jpg",
        "class_1/000001.jpg",
    ]
    assert len({path.read_bytes() for path in paths}) == 10


def test_images_come_from_an_archive_as_many_as_it_has(tmp_path):
    made = photographs.bring(tmp_path / "made", given("--images", 10))
    archive = photographs.packed(tmp_path / "made", tmp_path / "photographs.tar")
    few, many = given("--archive", archive, "--images", 5), given("--archive", archive, "--images", 99)
    assert len(photographs.bring(tmp_path / "few", few)) == 5
    brought = photographs.bring(tmp_path / "many", many)
    assert [path.read_bytes() for path in brought] == [path.read_bytes() for path in made]
    assert many.images == 10


def test_copies_differ_in_bytes_and_not_in_pixels(tmp_path):
    original = photographs.bring(tmp_path / "made", given("--images", 1))
    photographs.copies(original, tmp_path / "copies", 3)
    copies = sorted((tmp_path / "copies").rglob("*.jpg"))
    assert len({path.read_bytes() for path in copies}) == 3
    assert {Image.open(path).convert("RGB").tobytes() for path in copies} == {
        Image.open(original[0]).convert("RGB").tobytes()
    }


def test_a_parameter_that_does_not_exist_is_no_silent_change():
    assert projects.changed({"lr": 1, "head": {"C": 2, "kind": 3}}, {"head__C": 5}) == {
        "lr": 1,
        "head": {"C": 5, "kind": 3},
    }
    with pytest.raises(KeyError, match="rate"):
        projects.changed({"lr": 1}, {"rate": 5})


def test_the_shared_settings_are_keys_of_params_yaml(tmp_path):
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
    assert keras_two_step.reached(log, 0.9)["epoch"] == 2
    assert from_archive.epochs_needed(log, 0.9) == {1: 2, 2: 0}
    assert from_archive.said(log, 0.9) == "reached 0.9000 in epoch 2 of step 1"


def test_a_script_that_does_not_get_there_is_said_not_to():
    log = scripts_log(0.7, 0.9, 0.8)
    assert keras_two_step.reached(log, 0.91) is None
    assert from_archive.epochs_needed(log, 0.91) == {1: 3, 2: 0}
    assert from_archive.said(log, 0.91) == "not reached in 3 epochs frozen and 0 fine-tuned; the best one had 0.9000"


@pytest.mark.parametrize(("needed", "seconds"), [({1: 1, 2: 0}, 3), ({1: 4, 2: 0}, 9), ({1: 30, 2: 3}, 61 + 13)])
def test_the_epochs_that_the_script_needs_take_what_those_of_a_pair_took(needed, seconds):
    log = epochs(1, [3.0, 2.0]) + epochs(2, [5.0, 4.0], evaluation_seconds=1.5)
    assert from_archive.seconds_of(log, needed) == 7 + seconds + 1.5


def test_the_second_step_goes_on_until_the_script_has_had_its_time():
    # Start-up, 30 epochs frozen and an evaluation: 7 + 3 + 29 * 2 + 1.5 s; an epoch fine-tuned is 4 s, the first 5 s.
    log = epochs(1, [3.0, 2.0]) + epochs(2, [5.0, 4.0], evaluation_seconds=1.5)
    assert from_archive.second_step(log, 69.5 + 5 + 49 * 4) == 50
    assert from_archive.second_step(log, 69.5 + 5 + 49 * 4 + 1) == 51
    assert from_archive.second_step(log, 100) == 30


def test_an_archive_is_dealt_to_folders_of_parts(tmp_path):
    photographs.bring(tmp_path / "made", given("--images", 5))
    archive = photographs.packed(tmp_path / "made", tmp_path / "photographs.tar")
    parts = {"class_0/000000.jpg": "train", "class_3/000003.jpg": "test"}
    keras_two_step.unpack(archive, parts, tmp_path / "dealt")
    dealt = {path.relative_to(tmp_path / "dealt").as_posix() for path in (tmp_path / "dealt").rglob("*.jpg")}
    assert dealt == {"train/class_0/000000.jpg", "test/class_3/000003.jpg"}
    with tarfile.open(archive) as members:
        assert len(members.getnames()) > len(dealt)


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


def test_the_processor_is_named_with_what_decides_its_speed(tmp_path):
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
def test_a_line_of_the_table_says_what_was_wanted_and_what_came_out(changes, cells):
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
    assert "Not measured here: new_images, fine_tune_epoch, from_archive, predict_start, interpreters." in page


def test_each_processor_has_a_table_of_its_own():
    page = report.page([measured(row(claim="one")), measured(row(claim="two"), processor="Another")])
    first, second = page.split("## A processor\n")[1].split("## Another\n")
    assert [claim in first for claim in ("| one |", "| two |")] == [True, False]
    assert [claim in second for claim in ("| one |", "| two |")] == [False, True]


def test_a_folder_is_called_by_the_processor():
    assert results.folder_name("A(R) Chip  (family 25), with AVX-512") == "a-r-chip-family-25-with-avx-512"


def test_make_runs_every_benchmark_of_the_report():
    listed = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert tuple(listed) == report.BENCHMARKS
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in listed)


def test_the_page_in_git_is_the_one_that_the_figures_give():
    if not report.PAGE.is_file():
        pytest.skip("nothing was measured yet")
    assert report.PAGE.read_text(encoding="utf-8") == report.page(report.read(sides.RESULTS))


def test_a_set_is_the_pictures_of_a_package_by_class_without_small_classes_and_relief_maps(tmp_path, monkeypatch):
    root = tmp_path / "unpacked/textures/nature"
    root.mkdir(parents=True)
    names = [f"{kind}{number}.jpg" for kind, count in (("brick", 12), ("grass", 11)) for number in range(count)]
    for name in [*names, "brick0_nm.jpg", "brick.txt", "window.jpg", "brick_on_grass.tga"]:
        (root / name).write_text(name)
    monkeypatch.setattr("sys.argv", ["other_sets", "textures", str(tmp_path / "unpacked"), str(tmp_path / "sets")])
    other_sets.main()
    found = sorted((tmp_path / "sets").rglob("*.*"))
    assert [path.relative_to(tmp_path / "sets").as_posix() for path in found] == sorted(
        f"brick/nature-brick{number}.jpg" for number in range(12)
    )


def test_a_package_that_is_not_unpacked_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["other_sets", "stamps", str(tmp_path), str(tmp_path / "sets")])
    with pytest.raises(SystemExit, match=r"^error: \S+: no such folder; unpack there Debian tuxpaint-stamps\S+ \S+$"):
        other_sets.main()


@pytest.mark.parametrize(("script", "arguments"), [(other_sets, ["stamps"]), (letters, [])])
def test_a_folder_that_is_there_is_not_written_into(script, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [script.__name__, *arguments, str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: \S+: is there already; give a new folder$"):
        script.main()


@pytest.mark.parametrize(
    ("options", "classes", "some"),
    [
        ([], 47, {"digit zero", "latin capital letter a", "latin small letter a"}),
        (["--characters", "ascii"], 94, {"latin small letter c", "full stop", "solidus"}),
    ],
)
def test_every_typeface_is_drawn_once_and_is_in_one_part(options, classes, some, tmp_path, monkeypatch):
    fonts = Path(matplotlib.get_data_path(), "fonts/ttf")
    monkeypatch.setattr("sys.argv", ["letters", str(fonts), str(tmp_path / "set"), *options])
    letters.main()
    by_part = {part: {path.name for path in (tmp_path / "set" / part).glob("*/*.png")} for part in ("train", "test")}
    assert not by_part["train"] & by_part["test"]
    assert {"DejaVu Sans.png", "DejaVu Serif.png", "STIXGeneral.png"} <= by_part["train"] | by_part["test"]
    drawn = {path.parent.name: path for path in tmp_path.glob("set/*/*/DejaVu Sans.png")}
    assert len(drawn) == classes
    assert some <= set(drawn)
    pixels = {np.asarray(Image.open(path)).tobytes() for path in drawn.values()}
    assert len(pixels) == classes


def test_a_folder_without_a_font_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["letters", str(tmp_path), str(tmp_path / "set")])
    with pytest.raises(SystemExit, match=r"^error: \S+: no \.otf and no \.ttf file below it$"):
        letters.main()


def sets_of(tmp_path, monkeypatch, *options):
    """Return the names of ten files a class by part and class, where a file's name is its content."""
    for name in (f"{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(10)):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_text(name)
    arguments = ["few_images", tmp_path / "images", tmp_path / "set", *options]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in arguments])
    few_images.main()
    folders = sorted((tmp_path / "set").glob("*/*"))
    return {folder.relative_to(tmp_path / "set").as_posix(): {f.name for f in folder.iterdir()} for folder in folders}


def test_sets_with_few_images_or_unequal_classes_are_tested_alike(tmp_path, monkeypatch):
    few = sets_of(tmp_path / "few", monkeypatch, "--train", 2, "--test-from", 6)
    unequal = sets_of(tmp_path / "unequal", monkeypatch, "--train", 6, 1, "--test-from", 6)
    assert {folder: len(names) for folder, names in few.items()} == {
        "test/cat": 4,
        "test/dog": 4,
        "train/cat": 2,
        "train/dog": 2,
    }
    assert (len(unequal["train/cat"]), len(unequal["train/dog"])) == (6, 1)
    assert few["train/cat"] < unequal["train/cat"]
    for kind in ("cat", "dog"):
        assert few[f"test/{kind}"] == unequal[f"test/{kind}"]
        assert not few[f"test/{kind}"] & unequal[f"train/{kind}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train", "2", "--test-from", "10"), "10 images; 2 to train on and those from 10 on do not go"),
        (("--train", "1", "2", "3", "--test-from", "5"), "--train: 3 numbers for 2 classes; give one for each"),
    ],
)
def test_a_set_with_few_images_that_cannot_be_made_is_refused_in_a_line(tmp_path, monkeypatch, options, message):
    with pytest.raises(SystemExit, match=message):
        sets_of(tmp_path, monkeypatch, *options)


def test_a_set_is_made_of_class_folders_and_never_into_a_folder_that_is_there(tmp_path, monkeypatch):
    for images, folder, message in (
        (tmp_path / "none", tmp_path / "new", f"error: {tmp_path}/none: no folder of class folders"),
        (tmp_path, tmp_path, f"error: {tmp_path}: is there already; give a new folder"),
    ):
        arguments = ["few_images", str(images), str(folder), "--train", "1", "--test-from", "1"]
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit, match=f"^{re.escape(message)}$"):
            few_images.main()
