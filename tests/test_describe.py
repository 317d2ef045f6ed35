"""Stage describe: the model card and models/provenance.json say what the model is, and are the same each time."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import run_results
import yaml
from clones import ROOT
from dvc.repo import Repo
from split_files import write_split

from graft.core import paths
from graft.core.files import read_json, sha256_of, write_bytes, write_json, write_rows
from graft.images.table import COLUMNS, read_image_table
from graft.report.model_card import data_set_name
from stages import describe

LABELS = ["blue", "green", "red"]
HEADINGS = [
    "Classes",
    "Data",
    "How good it is",
    "Calibration",
    "Limits",
    "Files",
    "Licences",
    "How it was made",
]
UNKNOWN = {
    "prediction_sets": {"coverage": 0.97, "coverage_low": 0.9, "coverage_high": 0.99, "mean_size": 1.25},
    "none_of_these": {"accepted": 0.95, "generated_refused": 1.0, "generated_images": 60},
}
FORMAT = {"bytes": 5, "accuracy": 0.75, "agreement": 0.9, "largest_difference": 0.0123}


@pytest.fixture
def run(project, image_folder):
    """A finished run with nine test images of three classes, two of them wrong; its rows of data/split.csv."""
    rows = write_split(image_folder)
    write_rows(paths.IMAGES, COLUMNS, [row | {"split": ""} for row in rows])
    test = read_image_table().part("test")
    run_results.write_judgement(test, run_results.probabilities(test.labels, 3, 2))
    run_results.write_training()
    exported = {"exported": "fine_tuned", "image_size": 16, "cut": "block4c_add"}
    write_json(paths.EXPORT_METRICS, exported)
    write_json(paths.LABELS, {"labels": LABELS, "image_size": 16, "resize": "crop", "crops": 2})
    counts = {"images": 36, "smallest_class": 12, "largest_class": 12, "train": 20, "validation": 7, "test": 9}
    write_json(paths.DATA_METRICS, counts | {"suspects": 4})
    write_json(paths.BACKBONE_DESCRIPTION, {"backbone": "EfficientNetLite0"})
    write_json(paths.WEIGHTS, {"weights": "imagenet"})
    write_json(paths.ENVIRONMENT, {"keras": "3"})
    # No further formats, and too few validation images for prediction sets and "none of these".
    write_json(paths.FORMAT_METRICS, {})
    write_json(paths.UNKNOWN, {})
    write_json(paths.FORMATS_FOLDER / paths.LABELS.name, {"labels": LABELS})
    for path in (paths.CLASSIFIER, paths.HEAD, paths.FINE_TUNED, paths.BACKBONE_WEIGHTS):
        write_bytes(path, path.name.encode())
    return rows


def write_unknown():
    labels = read_json(paths.LABELS) | {"prediction_set": {"coverage": 0.95, "least_probability": 0.25}}
    write_json(paths.LABELS, labels)
    write_json(paths.UNKNOWN, UNKNOWN)


def card():
    """Return the front matter and the text of the card that the stage writes."""
    describe.main()
    text = paths.MODEL_CARD.read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def table_rows(body, heading):
    section = body.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:1] == "|"]


def test_the_front_matter_has_what_the_hub_reads(run):
    front, _ = card()
    assert front["license"] == "other"
    assert front["library_name"] == "litert"
    assert front["pipeline_tag"] == "image-classification"
    assert {"image-classification", "tflite"} <= set(front["tags"])
    assert front["metrics"] == ["accuracy", "f1"]
    ((result,),) = (model["results"] for model in front["model-index"])
    assert result["task"]["type"] == "image-classification"
    assert (result["dataset"]["name"], result["dataset"]["split"]) == ("digits", "test")
    figures = {one["type"]: one["value"] for one in result["metrics"]}
    assert figures["accuracy"] == pytest.approx(7 / 9, abs=5e-5)


@pytest.mark.parametrize("more", [False, True])
def test_the_card_has_every_section_in_order_and_each_table_is_whole(run, more):
    if more:
        write_unknown()
        write_json(paths.FORMAT_METRICS, {"onnx": FORMAT})
    _, body = card()
    assert re.findall(r"^## (.+)$", body, re.MULTILINE) == [
        *HEADINGS[:4], *(["Prediction sets", "None of these"] if more else []), *HEADINGS[4:]
    ]  # fmt: skip
    assert "\n\n\n" not in body
    assert not re.search(r"[^\n]\n#+ ", body)
    # A table stands between empty lines, each row with as many cells as its head.
    for block in body.split("\n\n"):
        lines = block.splitlines()
        if any(line.startswith("|") for line in lines):
            assert len({line.count("|") for line in lines}) == 1, block


def test_the_figures_are_those_of_the_metrics_with_intervals(run):
    _, body = card()
    found = read_json(paths.ACCURACY)
    span = f"{found['accuracy']:.3f} ({found['accuracy_low']:.3f} to {found['accuracy_high']:.3f})"
    rows = {row[0]: row[1:] for row in table_rows(body, "How good it is")}
    assert rows["accuracy"][0] == span
    assert rows["calibration error"][0] == f"{found['expected_calibration_error']:.3f}"
    for entry in read_json(paths.PER_CLASS):
        assert rows[entry["class"]][0] == str(entry["images"])
        assert rows[entry["class"]][2].startswith(f"{entry['recall']:.3f} (")
    assert [row[:2] for row in table_rows(body, "Data")[2:]] == [["train", "20"], ["validation", "7"], ["test", "9"]]


def test_the_limits_name_what_is_weak_in_this_run(run):
    _, body = card()
    limits = body.split("## Limits\n", 1)[1].split("\n## ", 1)[0]
    assert "4 of them look wrong" in limits
    assert re.search(r"Fewer than 30 test images.*: blue, green, red\.", limits)
    assert "Only 7 validation images" in limits


def test_the_licence_of_the_images_is_the_catalogs_or_the_users_own(run, project):
    assert "**Images:** CC-BY-4.0." in card()[1]
    project.set(dataset="/home/anna/secret/photos")
    front, body = card()
    assert "**Images:** yours: Graft knows none for this data set." in body
    assert front["model-index"][0]["name"] == "photos-EfficientNetLite0"


def test_no_path_of_this_machine_is_in_either_file(run, project):
    Path("weights.h5").touch()
    paths.WEIGHTS.unlink()
    paths.WEIGHTS.symlink_to(Path("weights.h5").resolve())
    project.set(dataset="/home/anna/secret/photos.tar.gz")
    _, body = card()
    for text in (body, paths.PROVENANCE.read_text()):
        assert str(Path.cwd()) not in text
        assert "anna" not in text
    assert "a file of your own" in body
    assert read_json(paths.PROVENANCE)["backbone"]["weights"] == "file"


def test_prediction_sets_none_of_these_and_formats_are_in_the_card_once_they_are_measured(run):
    write_unknown()
    write_json(paths.FORMAT_METRICS, {"onnx": FORMAT})
    write_bytes("models/formats/classifier.onnx", b"12345")
    # Their description is that of the shipped file.
    write_json("models/formats/labels.json", read_json(paths.LABELS))
    _, body = card()
    assert "for 95% of the images. On the test images it does for 97.0% (90.0% to 99.0%)" in body
    assert "refuses 100.0% of 60 generated pictures" in body
    rows = table_rows(body, "Files")
    assert not any("formats/labels.json" in row[0] for row in rows)
    assert ["`formats/classifier.onnx`", "5", "the same classifier in another format"] in rows
    assert ["onnx", "5", "0.750", "90.0%", "0.012"] in rows
    assert "models/formats/classifier.onnx" in read_json(paths.PROVENANCE)["files"]


def test_names_with_signs_of_markdown_or_html_are_shown_as_they_are(run):
    names = ["a|b", "<script>", "x_y*\nz"]
    write_json(paths.LABELS, read_json(paths.LABELS) | {"display_names": dict(zip(LABELS, names, strict=True))})
    _, body = card()
    assert "<script>" not in body
    assert r"blue (a\|b), green (&lt;script&gt;), red (x\_y\* z)." in body


def test_many_classes_are_named_up_to_a_limit(run):
    classes = [f"class {number}" for number in range(102)]
    write_json(paths.LABELS, read_json(paths.LABELS) | {"labels": classes})
    write_json(paths.PER_CLASS, [read_json(paths.PER_CLASS)[0] | {"class": name} for name in classes])
    _, body = card()
    assert "class 39 and 62 more, see `labels.json`." in body


def test_a_class_without_test_images_has_no_figures(run):
    empty = dict.fromkeys(("precision", "recall", "f1", "recall_low", "recall_high"))
    entries = read_json(paths.PER_CLASS)
    write_json(paths.PER_CLASS, [entries[0] | {"images": 0} | empty, *entries[1:]])
    assert ["blue", "0", "none", "none", "none"] in table_rows(card()[1], "How good it is")


def test_both_files_have_the_same_bytes_each_time(run):
    describe.main()
    before = {path: path.read_bytes() for path in (paths.MODEL_CARD, paths.PROVENANCE)}
    for path in Path().rglob("*.json"):
        os.utime(path, (0, 0))
    describe.main()
    assert {path: path.read_bytes() for path in before} == before


def test_provenance_has_the_hashes_of_data_weights_and_files_and_the_versions(run):
    describe.main()
    found = json.loads(paths.PROVENANCE.read_text())
    assert found["data"] == {
        "name": "digits",
        "images": len(run),
        "images_csv_sha256": sha256_of(paths.IMAGES),
        "split_csv_sha256": sha256_of(paths.SPLIT),
    }
    assert found["backbone"]["weights_sha256"] == sha256_of(paths.BACKBONE_WEIGHTS)
    assert found["environment"] == {"keras": "3"}
    for name, entry in found["files"].items():
        assert entry == {"bytes": Path(name).stat().st_size, "sha256": sha256_of(name)}
    assert not {"commit", "date"} & set(re.findall(r'"(\w+)":', paths.PROVENANCE.read_text()))


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("digits", "digits"),
        ("/home/anna/flowers/", "flowers"),
        ("photos/flowers.tar.gz", "flowers"),
        ("https://example.org/a/birds.ZIP", "birds"),
        ("../.zip", ".zip"),
    ],
)
def test_a_data_set_is_named_by_the_last_part_of_its_path(dataset, name):
    assert data_set_name(dataset) == name


def test_the_registry_of_dvc_knows_the_classifier_by_an_output_of_a_stage(project):
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    ((_, artifacts),) = Repo().artifacts.read().items()
    assert (artifacts["classifier"].path, artifacts["classifier"].type) == (paths.CLASSIFIER.as_posix(), "model")
    assert paths.CLASSIFIER.as_posix() in yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["export"]["outs"]
