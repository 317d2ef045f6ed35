"""Stage evaluate: metrics and figures of the exported file on the test part."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from split_files import write_split

from graft.core.errors import GraftError
from graft.core.files import read_rows, table_bytes, write_json, write_rows
from graft.images.table import COLUMNS
from graft.scores.intervals import wilson_interval
from stages import evaluate

LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "squash", "crops": 1}
METRICS = Path("metrics")
HISTORY = [
    {"epoch": 1, "learning_rate": 0.1, "loss": 2.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.7},
    {"epoch": 2, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.6, "val_loss": 0.5, "val_accuracy": 0.9},
]


@pytest.fixture
def data(project, image_folder, compiled):
    """The rows of data/split.csv of a project with blue, green and red images and a classifier of them."""
    rows = write_split(image_folder)
    Path("models").mkdir()
    shutil.copy(compiled.classifier, "models/classifier.tflite")
    write_json("models/labels.json", DESCRIPTION)
    write_history(HISTORY)
    write_json("metrics/head.json", {"head_validation": {"accuracy": 0.8, "loss": 0.5}})
    return rows


def write_history(rows):
    METRICS.mkdir(exist_ok=True)
    write_rows(METRICS / "history.csv", list(HISTORY[0]), rows)


def read(name):
    return json.loads((METRICS / name).read_text(encoding="utf-8"))


def swap_labels(rows):
    """Give the first test image of each class the label of the next class: the classifier is wrong three times."""
    for place, label in enumerate(LABELS):
        row = next(row for row in rows if row["split"] == "test" and row["path"].startswith(label))
        row["label"] = LABELS[(place + 1) % 3]
    write_rows("data/split.csv", COLUMNS, rows)


def test_the_metrics_of_a_classifier_without_mistakes_have_an_interval(data, capsys):
    evaluate.main()
    found = read("accuracy.json")
    assert (found["accuracy"], found["balanced_accuracy"], found["macro_f1"]) == (1.0, 1.0, 1.0)
    assert found["top_k_accuracy"] == {"k": 2, "accuracy": 1.0}
    assert (found["accuracy_low"], found["accuracy_high"]) == wilson_interval(9, 9)
    assert found["images"] == 9
    assert capsys.readouterr().out == f"accuracy 1.0000 ({found['accuracy_low']:.4f} to 1.0000) on 9 test images\n"


def test_an_image_that_download_has_accepted_has_no_limit_here(data):
    # A JPEG has fewer pixels there than at another size here.
    write_json("models/labels.json", DESCRIPTION | {"max_pixels": 1})
    evaluate.main()
    assert read("accuracy.json")["accuracy"] == 1.0


def test_the_images_are_those_of_the_test_part(data):
    evaluate.main()
    tested = [row["path"] for row in data if row["split"] == "test"]
    assert [row["path"] for row in read_rows(METRICS / "predictions.csv")] == tested


def test_mistakes_are_counted_by_actual_and_predicted_class(data):
    swap_labels(data)
    evaluate.main()
    assert read("accuracy.json")["accuracy"] == pytest.approx(6 / 9)
    # Rows are actual classes: one image with the label green is blue.
    assert read("confusion_matrix.json") == {"labels": LABELS, "matrix": [[2, 0, 1], [1, 2, 0], [0, 1, 2]]}


def test_every_prediction_has_its_classes_by_probability(data):
    swap_labels(data)
    evaluate.main()
    labels = {row["path"]: row["label"] for row in data}
    ranks = ("predicted", "second", "third")
    for row in read_rows(METRICS / "predictions.csv"):
        shares = {row[rank]: float(row[f"p_{rank}"]) for rank in ranks}
        assert sorted(shares) == LABELS
        assert sorted(shares.values(), reverse=True) == list(shares.values())
        assert sum(shares.values()) == pytest.approx(1, abs=2e-6)
        assert row["actual"] == labels[row["path"]]
        assert float(row["p_actual"]) == shares[row["actual"]]


def test_the_files_agree_with_each_other(data):
    swap_labels(data)
    evaluate.main()
    rows = read_rows(METRICS / "predictions.csv")
    accuracy = read("accuracy.json")["accuracy"]
    assert accuracy == pytest.approx(np.mean([row["actual"] == row["predicted"] for row in rows]))
    matrix = np.array(read("confusion_matrix.json")["matrix"])
    assert accuracy == pytest.approx(matrix.trace() / matrix.sum())


def test_the_figures_are_written(data):
    evaluate.main()
    for name in ("confusion.png", "misclassified.png", "predictions.png", "learning_curves.png"):
        with Image.open(METRICS / "plots" / name) as picture:
            picture.verify()


def test_without_an_epoch_of_fine_tuning_there_are_no_learning_curves(data):
    write_history([])
    evaluate.main()
    assert not (METRICS / "plots/learning_curves.png").exists()


def test_each_class_has_its_figures_in_the_order_of_the_classes(data):
    swap_labels(data)
    evaluate.main()
    found = read("per_class.json")
    assert [row["class"] for row in found] == LABELS
    matrix = np.array(read("confusion_matrix.json")["matrix"])
    assert [row["images"] for row in found] == matrix.sum(axis=1).tolist()
    assert [row["recall"] for row in found] == pytest.approx(matrix.diagonal() / matrix.sum(axis=1))


def test_the_same_model_gives_the_same_bytes(data):
    swap_labels(data)
    evaluate.main()
    first = {path: path.read_bytes() for path in METRICS.rglob("*.*")}
    evaluate.main()
    assert {path: path.read_bytes() for path in METRICS.rglob("*.*")} == first
    assert len(first) == 13


def test_the_hash_of_an_image_decides_whether_its_prediction_is_shown(data, monkeypatch):
    shown = []
    monkeypatch.setattr(evaluate.figures, "MAX_IMAGES", 4)
    monkeypatch.setattr(evaluate.figures, "predictions", lambda path, paths, *_: shown.append([p.name for p in paths]))
    evaluate.main()
    swap_labels(data)
    evaluate.main()
    tested = sorted((row["sha256"], Path(row["path"]).name) for row in data if row["split"] == "test")
    assert shown == [[name for _, name in tested[:4]]] * 2


def test_figures_have_the_display_names_of_classes_and_files_their_labels(data, monkeypatch):
    names = {"red": "rouge", "blue": "bleu", "green": "vert"}
    write_json("models/labels.json", DESCRIPTION | {"display_names": names})
    shown = []
    monkeypatch.setattr(evaluate.figures, "confusion", lambda path, matrix, names: shown.append(names))
    evaluate.main()
    assert shown == [["bleu", "vert", "rouge"]]
    assert read("confusion_matrix.json")["labels"] == LABELS
    assert {row["predicted"] for row in read_rows(METRICS / "predictions.csv")} == set(LABELS)


def test_a_classifier_of_other_classes_is_one_line(data):
    write_json("models/labels.json", DESCRIPTION | {"labels": ["blue", "red", "green"]})
    expected = r"^models/labels\.json: made for other classes than data/classes\.json: class 2 is 'red', not [^\n]*$"
    with pytest.raises(GraftError, match=expected):
        evaluate.main()


def test_no_output_has_a_path_of_this_machine(data, project):
    evaluate.main()
    for path in METRICS.rglob("*.*"):
        assert str(project.folder.parent).encode() not in path.read_bytes()


def test_without_a_model_the_stage_ends_with_one_line(data, project, run_python):
    Path("models/classifier.tflite").unlink()
    result = run_python("-m", "stages.evaluate", folder=project.folder)
    assert result.returncode == 1
    assert result.stderr.startswith("error: models/classifier.tflite: no such file; `dvc repro` writes it, ")
    assert result.stderr.count("\n") == 1
    assert {path.name for path in METRICS.iterdir()} == {"head.json", "history.csv"}


def test_above_the_limit_predictions_are_in_numbered_files_and_all_figures_are_the_same(data, project):
    swap_labels(data)
    evaluate.main()
    before = {path: path.read_bytes() for path in METRICS.rglob("*.*")}
    predictions = METRICS / "predictions.csv"
    project.set(limits__rows_in_memory=4)
    evaluate.main()
    assert sorted(path.name for path in predictions.iterdir()) == ["00000.csv", "00001.csv", "00002.csv"]
    assert [len(read_rows(path)) for path in sorted(predictions.iterdir())] == [4, 4, 1]
    assert table_bytes(predictions) == before.pop(predictions)
    assert {path: path.read_bytes() for path in before} == before


def test_at_the_limit_predictions_are_in_one_file_again(data, project):
    for limit in (8, 9, 8, 9):
        project.set(limits__rows_in_memory=limit)
        evaluate.main()
        assert (METRICS / "predictions.csv").is_dir() == (limit == 8)
