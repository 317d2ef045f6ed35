"""`graft predict` on many images: patterns, standard input, CSV, figures, sorted copies, and models elsewhere."""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
from blue_green_red import DESCRIPTION, LABELS
from PIL import Image

from graft.__main__ import command
from graft.activations import litert
from graft.commands import predict, predict_output
from graft.core import threads
from graft.core.errors import GraftError
from graft.core.files import write_json
from graft.images import loader
from graft.serving.classifier import Classifier, Prediction


@pytest.fixture
def sets(monkeypatch):
    """Let the classifier find these prediction sets and unknown images, by the image's file name."""
    found: dict[str, tuple[list[str], bool]] = {}

    def predict(self, path):
        probabilities = self.probabilities(path)
        chosen, unknown = found.get(path.name, ([self.labels[probabilities.argmax()]], False))
        return Prediction(probabilities, chosen, -1.0 if unknown else 1.0, unknown)

    monkeypatch.setattr(Classifier, "predict", predict)
    return found


@pytest.fixture
def give_input(monkeypatch):
    """Return a function that puts these bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def paths_of(lines):
    return [json.loads(line)["path"] for line in lines]


# Patterns.


def test_a_quoted_pattern_stands_for_what_a_shell_would_put_there(run_predict, image_folder):
    _, lines, errors = run_predict("--json", image_folder / "*" / "00[0-3].jpg")
    assert (paths_of(lines), errors) == (sorted(map(str, image_folder.glob("*/00[0-3].jpg"))), [])
    assert len(lines) == 6


def test_two_stars_reach_every_depth_and_name_a_file_once(run_predict, image_folder):
    _, lines, _ = run_predict("--json", image_folder / "**")
    assert sorted(paths_of(lines)) == sorted(map(str, image_folder.glob("*/*.*")))


def test_a_pattern_without_a_match_is_one_line(run_predict):
    with pytest.raises(GraftError, match=r"^no/\*\.jpg: no file or folder matches this pattern$"):
        run_predict("no/*.jpg")


def test_a_file_whose_name_is_a_pattern_is_that_file(run_predict, image_folder):
    shutil.copy(image_folder / "red/000.jpg", image_folder / "a[1].jpg")
    _, lines, _ = run_predict("--json", image_folder / "a[1].jpg")
    assert paths_of(lines) == [str(image_folder / "a[1].jpg")]


@pytest.mark.parametrize("address", ["https://example.org/a.jpg", "file:///a.jpg", "s3://photos/*.jpg"])
def test_an_address_is_refused_in_one_line(run_predict, address):
    with pytest.raises(GraftError) as caught:
        run_predict(address)
    assert str(caught.value) == f"{address}: an address, not a file; download the image and give the file"


# Standard input.


def test_a_minus_reads_a_path_from_each_line_of_standard_input(run_predict, image_folder, give_input):
    names = [image_folder / "red/000.jpg", image_folder / "blue/001.png", image_folder / "é \udcff.jpg"]
    shutil.copy(names[0], names[2])
    give_input(b"\n".join(map(os.fsencode, names[:2])) + b"\r\n\n" + os.fsencode(names[2]))
    status, lines, errors = run_predict("--json", "-")
    assert (status, paths_of(lines), errors) == (0, [str(name) for name in names], [])


def test_lines_of_standard_input_that_name_no_image_are_named_and_the_others_classified(
    run_predict, image_folder, give_input
):
    give_input(f"nowhere.jpg\n{image_folder}/green\nhttps://example.org/a.jpg\n{image_folder}/red/000.jpg\n".encode())
    status, lines, errors = run_predict("--json", "-", image_folder / "blue/000.jpg")
    assert status == 2
    assert len(lines) == 14
    assert paths_of(lines)[-2:] == [str(image_folder / name) for name in ("red/000.jpg", "blue/000.jpg")]
    assert errors == [
        "error: nowhere.jpg: no such file or folder",
        "error: https://example.org/a.jpg: an address, not a file; download the image and give the file",
    ]


@pytest.mark.parametrize("line", [b"a\0b/*.jpg", b"a\0*", b"*/" * 3000, b"\xff/[", b"x" * 5000 + b"/*"])
def test_binary_rubbish_in_standard_input_is_a_line_for_each_of_its_lines(run_predict, image_folder, give_input, line):
    give_input(line + b"\n" + str(image_folder / "blue").encode() + b"\n")
    status, lines, errors = run_predict("-")
    assert status == 2
    assert len(lines) == len(list((image_folder / "blue").iterdir()))
    assert [error.startswith("error: ") for error in errors] == [True]


def test_standard_input_without_a_line_is_one_line(run_predict, give_input):
    give_input(b"")
    with pytest.raises(GraftError, match=r"^standard input has no line; give it a path a line$"):
        run_predict("-")


def test_standard_input_cannot_be_named_twice(run_predict):
    with pytest.raises(GraftError, match=r"^-: standard input can be read once only$"):
        run_predict("-", "-")


# Many images, damaged ones among them.


def test_the_order_is_that_of_the_files_whatever_each_takes(run_predict, image_folder, monkeypatch, draw_picture):
    monkeypatch.setattr(threads, "usable_cpus", lambda: 4)
    for number in range(0, 30, 7):
        draw_picture((9, 99, 9), number, 1500).save(image_folder / f"red/{number:03d} large.png")
    _, lines, _ = run_predict("--json", image_folder)
    assert paths_of(lines) == sorted(map(str, image_folder.glob("*/*.*")))


def test_each_unreadable_file_is_named_and_the_status_is_2(run_predict, image_folder):
    for name, content in {"a.jpg": b"", "b.png": b"no image", "c.gif": b"GIF89a"}.items():
        (image_folder / name).write_bytes(content)
    status, lines, errors = run_predict("--csv", "--top", 1, image_folder)
    assert (status, len(lines)) == (2, 37)
    assert [error.split(": ")[1] for error in errors] == [
        f"{image_folder}/{name}" for name in ("a.jpg", "b.png", "c.gif")
    ]


def test_no_more_results_are_kept_than_the_threads_are_ahead(exported_model, image_folder, monkeypatch):
    """The files of a stream are read only as the results are taken."""
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2)
    path, taken = image_folder / "red/000.jpg", []
    stream = (taken.append(number) or path for number in range(10_000))
    found = predict.predictions(Classifier(Path("models/classifier.tflite"), Path("models/labels.json")), stream)
    for _ in range(5):
        next(found)
    assert len(taken) <= 5 + 2 * threads.AHEAD + 2
    found.close()


def test_several_images_are_classified_at_the_same_time(exported_model, image_folder, monkeypatch):
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2)
    both = Barrier(2, timeout=30)
    load = loader.load_crops
    monkeypatch.setattr(loader, "load_crops", lambda *arguments: both.wait() is not None and load(*arguments))
    assert command(["predict", str(image_folder / "red")]) == 0


# CSV and the prediction set.


def test_csv_has_a_row_for_each_class_that_is_listed(run_predict, image_folder):
    name = image_folder / 'a "quoted", name.jpg'
    shutil.copy(image_folder / "red/000.jpg", name)
    _, lines, _ = run_predict("--csv", "--top", 2, name, image_folder / "blue/000.jpg")
    rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["path", "rank", "label", "name", "probability", "in_set", "none_of_these"]
    assert [(row["path"], row["rank"], row["label"]) for row in rows[::2]] == [
        (str(name), "1", "red"),
        (str(image_folder / "blue/000.jpg"), "1", "blue"),
    ]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert {row["in_set"] for row in rows} == {row["none_of_these"] for row in rows} == {""}
    assert float(rows[0]["probability"]) > 0.5


def test_json_and_csv_do_not_go_together(run_predict, image_folder):
    status, _, errors = run_predict("--json", "--csv", image_folder)
    assert status == 2
    assert errors[-1].endswith("argument --csv: not allowed with argument --json")


def test_text_names_the_set_and_says_first_that_an_image_is_none_of_these():
    classifier = SimpleNamespace(labels=LABELS, names=["Blau", "Grün", "Rot"], coverage=0.95)
    probabilities = np.array([0.1, 0.3, 0.6], np.float32)
    one = Prediction(probabilities, ["red", "green"], 0.4, False)
    assert predict_output.as_text(one, classifier, 2) == "Rot 60.0%, Grün 30.0%; 95 % set: Rot, Grün"
    unknown = Prediction(probabilities, ["red"], -0.4, True)
    assert predict_output.as_text(unknown, classifier, 1) == "none of these; Rot 60.0%; 95 % set: Rot"
    assert predict_output.as_text(Prediction(probabilities, None, None, None), classifier, 1) == "Rot 60.0%"


def test_json_and_csv_have_the_set_and_none_of_these(run_predict, image_folder, sets):
    sets["000.jpg"] = (["red", "green"], True)
    (line,) = run_predict("--json", image_folder / "red/000.jpg")[1]
    found = json.loads(line)
    assert (found["prediction_set"], found["none_of_these"], found["known_score"]) == (["red", "green"], True, -1)
    rows = list(csv.DictReader(run_predict("--csv", image_folder / "red/000.jpg")[1]))
    assert {row["label"]: row["in_set"] for row in rows} == {"red": "true", "green": "true", "blue": "false"}
    assert {row["none_of_these"] for row in rows} == {"true"}


def test_json_has_null_where_the_model_has_no_thresholds(run_predict, image_folder):
    (line,) = run_predict("--json", image_folder / "red/000.jpg")[1]
    found = json.loads(line)
    assert (found["prediction_set"], found["none_of_these"], found["known_score"]) == (None, None, None)


# Figures.


def test_a_figure_shows_the_first_images(run_predict, image_folder, sets):
    sets["000.jpg"] = (["red", "green"], True)
    status, lines, errors = run_predict("--figure", "out.png", image_folder)
    assert (status, len(lines), errors) == (0, 36, ["out.png: shows 36 images"])
    with Image.open("out.png") as picture:
        assert picture.width > 500


def test_of_more_images_a_figure_shows_the_first_and_says_so(run_predict, tmp_path, write_image_folder):
    photos = write_image_folder(tmp_path / "many", count=17)
    assert run_predict("--figure", "out.png", photos)[2] == ["out.png: shows the first 48 of 51 images"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("out.jpg", "the name of the figure must end in .png"), ("no/out.png", "no folder no; make it first")],
)
def test_a_figure_that_cannot_be_written_is_one_line_before_anything_is_classified(
    run_predict, image_folder, path, message, capsys
):
    with pytest.raises(GraftError) as caught:
        run_predict("--figure", path, image_folder)
    assert str(caught.value) == f"--figure {path}: {message}"
    assert capsys.readouterr().out == ""


def test_a_figure_takes_the_place_of_no_folder(run_predict, image_folder):
    Path("photos.png").mkdir()
    with pytest.raises(GraftError, match=r"^--figure photos\.png: a folder, which a file would replace; give "):
        run_predict("--figure", "photos.png", image_folder)


def test_a_figure_of_no_readable_image_is_not_written(run_predict):
    Path("broken.jpg").write_bytes(b"no image")
    status, _, errors = run_predict("--figure", "out.png", "broken.jpg")
    assert (status, errors[-1]) == (2, "out.png: not written, as no image can be read")
    assert not Path("out.png").exists()


# Sorted copies.


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_sort_copies_each_image_to_its_class_and_the_unsure_ones_to_unsure(run_predict, image_folder, sets):
    before = tree(image_folder)
    sets |= {"002.jpg": (["red", "green"], False), "004.jpg": (["red"], True), "006.jpg": ([], False)}
    _, lines, errors = run_predict("--sort", "sorted", image_folder / "red")
    unsure = ("002.jpg", "004.jpg", "006.jpg")
    assert tree("sorted/unsure") == list(unsure)
    assert tree("sorted/red") == [name for name in tree(image_folder / "red") if name not in unsure]
    assert errors == ["sorted: 9 to red, 3 to unsure"]
    assert len(lines) == 12
    assert tree(image_folder) == before
    assert Path("sorted/red/000.jpg").read_bytes() == (image_folder / "red/000.jpg").read_bytes()


def test_without_thresholds_every_image_goes_to_its_likeliest_class(run_predict, image_folder):
    assert run_predict("--sort", "sorted", image_folder)[2] == ["sorted: 12 to blue, 12 to green, 12 to red"]


def test_files_of_one_name_get_numbers_and_nothing_is_overwritten(run_predict, image_folder):
    for folder, source in (("a", "000.jpg"), ("b", "002.jpg"), ("c", "004.jpg")):
        Path(folder).mkdir()
        shutil.copy(image_folder / "red" / source, f"{folder}/same.jpg")
    Path("sorted/red").mkdir(parents=True)
    Path("sorted/red/same.jpg").write_bytes(b"of the user")
    assert run_predict("--sort", "sorted", "a", "b", "c")[2] == ["sorted: 3 to red"]
    assert tree("sorted") == ["red/same-2.jpg", "red/same-3.jpg", "red/same-4.jpg", "red/same.jpg"]
    assert Path("sorted/red/same.jpg").read_bytes() == b"of the user"
    assert Path("sorted/red/same-4.jpg").read_bytes() == (image_folder / "red/004.jpg").read_bytes()


def test_a_second_run_copies_nothing_again(run_predict, image_folder):
    run_predict("--sort", "sorted", image_folder)
    first = tree("sorted")
    assert run_predict("--sort", "sorted", image_folder)[2] == ["sorted: 36 there already"]
    assert tree("sorted") == first


def test_unreadable_files_are_not_copied(run_predict, image_folder):
    (image_folder / "red/broken.jpg").write_bytes(b"no image")
    status, _, errors = run_predict("--sort", "sorted", image_folder / "red")
    assert (status, errors[-1]) == (2, "sorted: 12 to red")


def test_half_a_copy_is_removed(run_predict, image_folder, monkeypatch):
    def fail(source, copy):
        copy.write(source.read(9))
        raise OSError(28, "No space left on device", copy.name)

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="No space left"):
        run_predict("--sort", "sorted", image_folder / "red")
    assert tree("sorted") == []


@pytest.mark.parametrize("label", ["../outside", "/absolute", "a/b"])
def test_a_label_never_leads_out_of_the_folder(run_predict, image_folder, label):
    write_json("models/labels.json", DESCRIPTION | {"labels": ["blue", "green", label]})
    run_predict("--sort", "sorted", image_folder / "red")
    assert {Path(name).parent.as_posix() for name in tree("sorted")} == {label.replace("/", "_")}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("..", r"the class '\.\.' cannot be the name of a folder"),
        ("", "the class '' cannot be the name of a folder"),
        ("Unsure", "'Unsure' would share a folder with another class or unsure/"),
        ("BLUE", "'blue', 'BLUE' would share a folder with another class or unsure/"),
    ],
)
def test_a_label_without_a_folder_of_its_own_is_one_line(run_predict, image_folder, label, message):
    write_json("models/labels.json", DESCRIPTION | {"labels": ["blue", "green", label]})
    with pytest.raises(GraftError, match=f"^--sort: {message}$"):
        run_predict("--sort", "sorted", image_folder)
    assert not Path("sorted").exists()


def test_a_place_for_copies_inside_of_the_images_or_a_file_is_refused(run_predict, image_folder):
    with pytest.raises(GraftError, match=r"sorted: inside of .*photos, whose images are read; give a folder outside"):
        run_predict("--sort", image_folder / "sorted", image_folder)
    Path("taken").touch()
    with pytest.raises(GraftError, match=r"^--sort taken: a file; give a folder, which need not exist$"):
        run_predict("--sort", "taken", image_folder)
    Path("link").symlink_to("nowhere")
    with pytest.raises(GraftError, match=r"^--sort link/?\w*: a file or a broken link, where a folder has to be"):
        run_predict("--sort", "link", image_folder)


def test_a_place_for_copies_inside_of_what_a_pattern_names_is_refused(run_predict, image_folder):
    with pytest.raises(GraftError, match=r"sorted: inside of .*blue, whose images are read; give a folder outside"):
        run_predict("--sort", image_folder / "blue/sorted", f"{image_folder}/*")


@pytest.mark.parametrize("option", ["--sort", "--figure", "--model"])
def test_an_empty_name_is_not_the_current_folder(run_predict, image_folder, option, capsys):
    assert command(["predict", option, "", str(image_folder)]) == 2
    assert f"argument {option}: an empty name" in capsys.readouterr().err


# The model.


def test_a_model_in_another_folder_is_used_from_anywhere(run_predict, image_folder, tmp_path, monkeypatch):
    expected = run_predict("--json", image_folder)[1]
    shutil.move("models", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert run_predict("--json", "--model", "elsewhere", image_folder)[1] == expected


@pytest.mark.parametrize("name", ["classifier.tflite", "labels.json"])
def test_a_model_folder_without_a_file_is_one_line(run_predict, image_folder, name):
    Path("models", name).unlink()
    with pytest.raises(GraftError) as caught:
        run_predict("--model", "models", image_folder)
    assert str(caught.value) == (
        f"models/{name}: no such file; --model takes a folder with classifier.tflite and labels.json"
    )


@pytest.mark.parametrize("changes", [{"labels": ["blue", "red"]}, {"image_size": 24}])
def test_a_model_folder_with_files_of_two_exports_is_one_line(run_predict, image_folder, changes, capsys):
    write_json("models/labels.json", DESCRIPTION | changes)
    with pytest.raises(GraftError, match=r"^models/labels\.json: (it has 2 labels|image_size is 24), but models/"):
        run_predict("--model", "models", image_folder)
    assert capsys.readouterr().out == ""


def test_two_models_are_refused(run_predict, image_folder):
    with pytest.raises(GraftError, match=r"^--model and --imagenet name two models; leave one out$"):
        run_predict("--model", "models", "--imagenet", image_folder)


def test_one_image_loads_the_network_once(run_predict, image_folder, monkeypatch):
    loaded = []
    interpreter = litert.Interpreter
    monkeypatch.setattr(litert, "Interpreter", lambda **options: loaded.append(1) or interpreter(**options))
    run_predict(image_folder / "red/000.jpg")
    assert len(loaded) == 1


def test_one_image_imports_no_large_library(exported_model, image_folder, run_python, project):
    script = (
        "import sys; from graft.__main__ import command; command(['predict', sys.argv[1]]); "
        "print({'tensorflow', 'matplotlib', 'pandas', 'scipy', 'fastapi'} & set(sys.modules), file=sys.stderr)"
    )
    done = run_python("-c", script, image_folder / "red/000.jpg", folder=project.folder)
    assert (done.returncode, done.stderr) == (0, "set()\n")
