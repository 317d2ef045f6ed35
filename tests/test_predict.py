"""The command `graft predict`: classes and probabilities of files and folders, from the exported model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blue_green_red import DESCRIPTION, LABELS
from PIL import Image

from graft.activations.litert import Network
from graft.commands import predict_output
from graft.core.errors import GraftError
from graft.core.files import write_json
from graft.images import loader
from graft.serving.classifier import Classifier

ROOT = Path(__file__).resolve().parents[1]


def test_a_file_is_named_with_its_classes_the_most_probable_first(run_predict, image_folder):
    path = image_folder / "red/000.jpg"
    status, lines, errors = run_predict(path)
    assert (status, errors) == (0, [])
    assert len(lines) == 1
    name, _, classes = lines[0].partition(": ")
    assert name == str(path)
    shares = [(part.split()[0], float(part.split()[1].rstrip("%"))) for part in classes.split(", ")]
    assert shares[0][0] == "red"
    assert [share for _, share in shares] == sorted((share for _, share in shares), reverse=True)
    assert sum(share for _, share in shares) == pytest.approx(100, abs=0.2)


def test_json_has_an_object_a_line(run_predict, image_folder):
    paths = [image_folder / "green/001.png", image_folder / "blue/000.jpg"]
    _, lines, _ = run_predict("--json", *paths)
    found = [json.loads(line) for line in lines]
    assert [entry["path"] for entry in found] == [str(path) for path in paths]
    assert [entry["classes"][0]["label"] for entry in found] == ["green", "blue"]
    for entry in found:
        assert sorted(one["label"] for one in entry["classes"]) == LABELS
        assert sum(one["probability"] for one in entry["classes"]) == pytest.approx(1, abs=1e-5)


def test_the_probabilities_are_those_of_the_formula(run_predict, tmp_path):
    Image.new("RGB", (16, 16), (255, 0, 51)).save(tmp_path / "a.png")
    (found,) = run_predict("--json", tmp_path / "a.png")[1]
    logits = 8 * np.array([0.2, 0.0, 1.0])
    expected = dict(zip(LABELS, np.exp(logits) / np.exp(logits).sum(), strict=True))
    shares = {one["label"]: one["probability"] for one in json.loads(found)["classes"]}
    assert shares == pytest.approx(expected, abs=1e-5)


def test_an_image_above_the_limit_of_the_description_is_named_and_left_out(run_predict, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    write_json("models/labels.json", DESCRIPTION | {"max_pixels": 1599})
    status, lines, errors = run_predict(tmp_path / "large.png")
    assert (status, lines) == (2, [])
    assert "large.png: not a readable image (0.0 megapixels, above the limit of 0.001599: make it smaller" in errors[0]
    write_json("models/labels.json", DESCRIPTION | {"max_pixels": 1600})
    assert run_predict(tmp_path / "large.png")[0] == 0


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (3, 3), (99, 3)])
def test_top_bounds_how_many_classes_are_listed(run_predict, image_folder, top, count):
    (line,) = run_predict("--top", top, "--json", image_folder / "red/000.jpg")[1]
    assert len(json.loads(line)["classes"]) == count


@pytest.mark.parametrize("top", ["0", "-1", "many"])
def test_an_impossible_top_is_refused(run_predict, image_folder, top):
    status, lines, errors = run_predict(f"--top={top}", image_folder)
    assert (status, lines) == (2, [])
    assert errors[-1] == f"graft predict: error: argument --top: {top} is not a whole number from 1"


def test_a_folder_stands_for_all_images_below_it_and_a_line_counts_its_other_files(run_predict, image_folder):
    for name in ("notes.txt", "red/1.CR2", "red/.hidden.jpg"):
        (image_folder / name).touch()
    status, lines, errors = run_predict("--json", image_folder)
    (error,) = errors
    assert error.startswith(f"{image_folder}: left out: 1 .cr2, 1 .txt; known are .jpg, ")
    paths = [json.loads(line)["path"] for line in lines]
    assert status == 0
    assert paths == sorted(paths)
    assert len(paths) == 36


def test_a_file_is_tried_whatever_its_suffix(run_predict, image_folder):
    shutil.copy(image_folder / "red/000.jpg", image_folder / "upload.bin")
    assert run_predict("--json", image_folder / "upload.bin")[0] == 0


def test_an_unreadable_file_is_one_line_and_the_others_are_still_classified(run_predict, image_folder):
    (image_folder / "red/000 broken.jpg").write_bytes(b"no image")
    status, lines, errors = run_predict("--json", image_folder)
    assert status == 2
    assert len(lines) == 36
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {image_folder}/red/000 broken.jpg: not a readable image (")


def test_a_path_that_does_not_exist_is_one_line_before_anything_is_classified(run_predict, image_folder, capsys):
    with pytest.raises(GraftError, match=r"^nowhere\.jpg: no such file or folder$"):
        run_predict(image_folder / "red/000.jpg", "nowhere.jpg")
    assert capsys.readouterr().out == ""


def test_a_folder_without_images_is_one_line(run_predict, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GraftError, match=r"empty: no image in this folder; images end in \.jpg, "):
        run_predict(tmp_path / "empty")


def test_hidden_folders_and_those_of_macos_are_skipped(run_predict, image_folder):
    for name in (".ipynb_checkpoints", "red/__MACOSX"):
        (image_folder / name).mkdir()
        shutil.copy(image_folder / "red/000.jpg", image_folder / name)
    _, lines, errors = run_predict("--json", image_folder)
    assert (len(lines), errors) == (36, [])


def test_what_is_no_file_in_a_folder_is_named_in_one_line_and_never_read(run_predict, image_folder, tmp_path):
    os.mkfifo(image_folder / "red/pipe.jpg")
    (image_folder / "zero.jpg").symlink_to("/dev/zero")
    (image_folder / "gone.jpg").symlink_to("nowhere.jpg")
    (image_folder / "more").symlink_to(tmp_path)
    (image_folder / "red/link.jpg").symlink_to("000.jpg")
    status, lines, errors = run_predict("--json", image_folder)
    assert (status, len(lines)) == (0, 37)
    assert errors == [
        f"{image_folder}: left out: gone.jpg (a link that leads nowhere), more (a link to a folder), "
        "red/pipe.jpg (neither a file nor a folder), zero.jpg (neither a file nor a folder)"
    ]


def test_of_many_links_the_first_are_named_and_the_others_counted(run_predict, image_folder):
    for number in range(12):
        (image_folder / f"link {number:02d}").symlink_to(image_folder)
    (error,) = run_predict(image_folder)[2]
    assert error.endswith("link 09 (a link to a folder), 2 more")


def test_a_folder_that_cannot_be_read_is_named(run_predict, image_folder, monkeypatch):
    # The tests may run as a user who may read everything.
    scandir = os.scandir

    def scan(folder):
        if Path(folder).name == "red":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    status, lines, errors = run_predict(image_folder)
    assert (status, len(lines)) == (0, 24)
    assert errors == [f"{image_folder}: left out: red (a folder that cannot be read (Permission denied))"]


@pytest.mark.parametrize("name", ["pipe.jpg", "/dev/zero"])
def test_a_pipe_or_a_device_is_one_line(run_predict, image_folder, name):
    if name == "pipe.jpg":
        os.mkfifo(name)
    with pytest.raises(GraftError, match=f"^{name}: neither a file nor a folder; save the image as a file$"):
        run_predict(name)


def test_an_empty_name_is_not_the_current_folder(run_predict, image_folder):
    status, lines, errors = run_predict("")
    assert (status, lines) == (2, [])
    assert errors[-1].endswith("argument PATH: an empty name; the current folder is .")


def test_a_name_that_is_too_long_is_one_line(run_predict):
    with pytest.raises(GraftError, match=r"^a{300}: no such file or folder$"):
        run_predict("a" * 300)


def test_a_name_with_a_line_end_is_printed_in_one_line(run_predict, image_folder):
    shutil.copy(image_folder / "red/000.jpg", image_folder / "a\nb.jpg")
    (line,) = run_predict(image_folder / "a\nb.jpg")[1]
    assert line.startswith(f"{image_folder}/a\\nb.jpg: red ")


def test_equally_probable_classes_are_listed_in_their_own_order():
    listed = predict_output.ranked(np.array([0.25, 0.25, 0.5]), LABELS, LABELS, 3)
    assert [one["label"] for one in listed] == ["red", "blue", "green"]


def test_classes_are_printed_with_their_display_names(run_predict, image_folder):
    write_json("models/labels.json", DESCRIPTION | {"display_names": {"red": "红色", "blue": "bleu"}})
    (line,) = run_predict(image_folder / "red/000.jpg")[1]
    assert line.startswith(f"{image_folder / 'red/000.jpg'}: 红色 ")
    (line,) = run_predict("--json", image_folder / "red/000.jpg")[1]
    names = {one["label"]: one["name"] for one in json.loads(line)["classes"]}
    assert names == {"red": "红色", "blue": "bleu", "green": "green"}


@pytest.mark.parametrize("option", ["--backbone=VGG16", "--weights=own.h5"])
def test_backbone_and_weights_without_imagenet_are_a_mistake_in_one_line(run_predict, image_folder, option):
    with pytest.raises(
        GraftError, match=r"^--backbone and --weights need --imagenet; the exported model takes neither$"
    ):
        run_predict(option, image_folder)


def test_the_pixels_are_those_of_the_one_loader(run_predict, image_folder, monkeypatch):
    asked = []
    load = loader.load_crops
    monkeypatch.setattr(loader, "load_crops", lambda *arguments: asked.append(arguments) or load(*arguments))
    run_predict(image_folder / "red/000.jpg")
    assert asked == [(image_folder / "red/000.jpg", 16, "squash", 1, 64_000_000)]


def test_the_probabilities_are_the_mean_over_the_crops(exported_model, project):
    # Red and green halves: the middle crop shows as much of both.
    picture = Image.new("RGB", (32, 16), (200, 50, 40))
    picture.paste((50, 180, 60), (16, 0, 32, 16))
    picture.save("halves.png")
    found = {}
    for crops in (1, 2):
        write_json("models/labels.json", DESCRIPTION | {"resize": "crop", "crops": crops})
        found[crops] = Classifier(Path("models/classifier.tflite"), Path("models/labels.json"))
    network = Network(Path("models/classifier.tflite"))
    pixels = np.asarray(picture)
    expected = [network(np.ascontiguousarray(pixels[:, left : left + 16]))[-1] for left in (4, 12)]
    np.testing.assert_allclose(found[2].probabilities(Path("halves.png")), np.mean(expected, axis=0), atol=1e-6)
    middle = network(np.ascontiguousarray(pixels[:, 8:24]))[-1]
    np.testing.assert_array_equal(found[1].probabilities(Path("halves.png")), middle)


def test_names_in_any_script_and_in_none_are_printed(exported_model, image_folder, run_python, project):
    folder = image_folder / "玫瑰"
    folder.mkdir()
    shutil.copy(image_folder / "red/000.jpg", folder / "é 1.jpg")
    shutil.copy(image_folder / "red/000.jpg", os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))
    for encoding in ("utf-8", "ascii"):
        result = run_python(
            "-m", "graft", "predict", "--json", folder, folder=project.folder, PYTHONIOENCODING=encoding
        )
        assert result.returncode == 0, result.stderr
        names = [Path(json.loads(line)["path"]).name for line in result.stdout.splitlines()]
        assert names == ["é 1.jpg", os.fsdecode(b"\xff.jpg")]


def test_without_a_model_the_command_ends_with_one_line(project, image_folder, run_python):
    result = run_python("-m", "graft", "predict", image_folder, folder=project.folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: models/classifier.tflite: no such file; `dvc repro` writes it, "
        "`dvc checkout` brings back that of the last run\n"
    )


@pytest.mark.parametrize("name", ["models/classifier.tflite", "models/labels.json"])
def test_a_missing_file_of_the_model_is_one_line_that_says_how_it_comes_back(run_predict, image_folder, name):
    Path(name).unlink()
    with pytest.raises(GraftError, match=f"^{name}: no such file; `dvc repro` [^\n]* `dvc checkout` brings back"):
        run_predict(image_folder)


@pytest.mark.parametrize("key", DESCRIPTION)
def test_a_description_without_a_key_is_one_line(run_predict, image_folder, key):
    write_json("models/labels.json", {name: value for name, value in DESCRIPTION.items() if name != key})
    with pytest.raises(GraftError, match=rf"^models/labels\.json: no key '{key}'; `dvc repro` writes the file again$"):
        run_predict(image_folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "red"}, r"labels is 'red', not a list of names"),
        ({"labels": ["blue", 3, "red"]}, r"labels is \['blue', 3, 'red'\], not a list of names"),
        ({"labels": ["red", "blue", "red"]}, r"labels is \['red', 'blue', 'red'\], not a list of names, each once"),
        ({"labels": []}, r"labels is \[\], not a list of names"),
        ({"labels": ["blue", "red"]}, r"it has 2 labels, but models/classifier\.tflite gives 3 probabilities"),
        ({"image_size": "16"}, r"image_size is '16', not a whole number from 1"),
        ({"image_size": 17}, r"image_size is 17, but models/classifier\.tflite takes 16 x 16 pixels"),
        ({"resize": "stretch"}, r"resize is 'stretch', not one of squash, crop, pad, crop_or_pad"),
        ({"resize": []}, r"resize is \[\], not one of squash, "),
        ({"crops": 0}, r"crops is 0, not a whole number from 1 to 100"),
        ({"crops": True}, r"crops is True, not a whole number from 1 to 100"),
        ({"max_pixels": 0}, r"max_pixels is 0, not a whole number from 1"),
        ({"display_names": ["a"]}, r"display_names is \['a'\], not a name for each of some labels"),
        ({"display_names": {"red": 1}}, r"display_names is \{'red': 1\}, not a name for each of some labels"),
        ({"prediction_set": 0.9}, r"prediction_set is 0\.9, not coverage and least_probability, each from 0 to 1"),
        ({"prediction_set": {"coverage": 0.9}}, r"prediction_set is \{'coverage': 0\.9\}, not coverage and "),
        (
            {"prediction_set": {"coverage": 0.9, "least_probability": True}},
            r"prediction_set is \{.*\}, not coverage and ",
        ),
        (
            {"none_of_these": {"output": 2, "threshold": 0.5, "accepted": 0.95}},
            r"none_of_these is \{.*\}, not output 1, ",
        ),
        (
            {"none_of_these": {"output": 1, "threshold": 7, "accepted": 0.95}},
            r"none_of_these is \{.*\}, not output 1, ",
        ),
        (
            {"none_of_these": {"output": 1, "threshold": 0.5, "accepted": 0.95}},
            r"it has none_of_these, but models/classifier\.tflite has no such output",
        ),
    ],
)
def test_a_description_of_another_shape_is_one_line_with_the_key(run_predict, image_folder, changes, message):
    write_json("models/labels.json", DESCRIPTION | changes)
    with pytest.raises(GraftError, match=rf"^models/labels\.json: {message}[^\n]*; `dvc repro` writes [^\n]* again$"):
        run_predict(image_folder)


@pytest.mark.parametrize("content", [[], "labels", 5, None, ["labels", "image_size", "resize", "crops"]])
def test_a_description_that_is_no_object_is_one_line(run_predict, image_folder, content):
    write_json("models/labels.json", content)
    with pytest.raises(
        GraftError, match=r"^models/labels\.json: not a JSON object; `dvc repro` writes the file again$"
    ):
        run_predict(image_folder)


def test_the_command_imports_no_library_that_starts_slowly(run_python, monkeypatch):
    # Coverage imports some of them.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    script = (
        "import sys, graft.__main__, graft.commands.predict; "
        "slow = {'tensorflow', 'keras', 'sklearn', 'scipy', 'pandas', '_hashlib', 'importlib.metadata', 'email'}; "
        "print(slow & set(sys.modules))"
    )
    assert run_python("-c", script).stdout == "set()\n"


def test_a_reader_that_stops_early_is_no_error(exported_model, tmp_path, write_image_folder):
    photos = write_image_folder(tmp_path / "many", count=400)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = f"'{sys.executable}' -m graft predict '{photos}' | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""
