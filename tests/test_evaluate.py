"""Stages train_head and evaluate: the figures of the test part, in the files that dvc.yaml declares."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import GraftError
from graft.core.files import read_rows, sha256_of, write_json, write_rows
from graft.data.folders import COLUMNS
from graft.heads import head
from graft.scores import metrics
from stages import evaluate, train_head

LABELS = ["blue", "green", "red"]
METRICS = Path("metrics")


@pytest.fixture
def data(project, image_folder, compiled):
    """A project with images, their split (every fourth is test, every fourth after it validation) and a classifier."""
    rows = []
    for place, path in enumerate(sorted(image_folder.rglob("*.*"))):
        part = ("test", "validation", "train", "train")[place % 4]
        name = path.relative_to(image_folder).as_posix()
        rows.append(dict(zip(COLUMNS, (name, path.parent.name, part, sha256_of(path), f"{place:06x}"), strict=True)))
    Path("data").mkdir()
    Path("data/raw").symlink_to(image_folder)
    write_rows("data/split.csv", COLUMNS, rows)
    Path("models").mkdir()
    shutil.copy(compiled.classifier, "models/classifier.tflite")
    write_json("models/labels.json", {"labels": LABELS, "image_size": 16, "resize": "squash"})
    return rows


def read(name):
    return json.loads((METRICS / name).read_text(encoding="utf-8"))


def swap_labels(rows):
    """Call the first test image of each class by the next class's name, so that the classifier is wrong thrice."""
    for place, label in enumerate(LABELS):
        row = next(row for row in rows if row["split"] == "test" and row["path"].startswith(label))
        row["label"] = LABELS[(place + 1) % 3]
    write_rows("data/split.csv", COLUMNS, rows)


def test_a_perfect_classifier_is_called_perfect_with_an_interval(data, capsys):
    evaluate.main()
    found = read("accuracy.json")
    assert (found["accuracy"], found["balanced_accuracy"], found["macro_f1"]) == (1.0, 1.0, 1.0)
    assert found["top_k_accuracy"] == {"k": 2, "accuracy": 1.0}
    assert (found["accuracy_low"], found["accuracy_high"]) == metrics.wilson_interval(9, 9)
    assert found["images"] == 9
    assert capsys.readouterr().out == f"accuracy 1.0000 ({found['accuracy_low']:.4f} to 1.0000) on 9 test images\n"


def test_only_the_test_part_is_judged(data):
    evaluate.main()
    tested = [row["path"] for row in data if row["split"] == "test"]
    assert [row["path"] for row in read_rows(METRICS / "predictions.csv")] == tested


def test_mistakes_are_counted_where_they_belong(data):
    swap_labels(data)
    evaluate.main()
    assert read("accuracy.json")["accuracy"] == pytest.approx(6 / 9)
    # Rows are actual classes: of those called green, one picture is blue.
    assert read("confusion_matrix.json") == {"labels": LABELS, "matrix": [[2, 0, 1], [1, 2, 0], [0, 1, 2]]}


def test_every_prediction_has_the_probability_of_each_class(data):
    swap_labels(data)
    evaluate.main()
    labels = {row["path"]: row["label"] for row in data}
    for row in read_rows(METRICS / "predictions.csv"):
        assert list(row) == ["path", "actual", "predicted", "p_blue", "p_green", "p_red"]
        shares = [float(row[f"p_{label}"]) for label in LABELS]
        assert sum(shares) == pytest.approx(1, abs=2e-6)
        assert row["predicted"] == LABELS[int(np.argmax(shares))]
        assert row["actual"] == labels[row["path"]]


def test_the_files_agree_with_each_other(data):
    swap_labels(data)
    evaluate.main()
    rows = read_rows(METRICS / "predictions.csv")
    accuracy = read("accuracy.json")["accuracy"]
    assert accuracy == pytest.approx(np.mean([row["actual"] == row["predicted"] for row in rows]))
    matrix = np.array(read("confusion_matrix.json")["matrix"])
    assert accuracy == pytest.approx(matrix.trace() / matrix.sum())


def test_the_pictures_are_written(data):
    evaluate.main()
    for name in ("confusion.png", "misclassified.png", "predictions.png"):
        with Image.open(METRICS / "plots" / name) as picture:
            picture.verify()


def test_the_same_model_gives_the_same_bytes(data):
    swap_labels(data)
    evaluate.main()
    first = {path: path.read_bytes() for path in METRICS.rglob("*.*")}
    evaluate.main()
    assert {path: path.read_bytes() for path in METRICS.rglob("*.*")} == first
    assert len(first) == 6


def test_which_predictions_are_drawn_is_decided_by_the_images_alone(data, monkeypatch):
    drawn = []
    monkeypatch.setattr(evaluate.figures, "SHOWN", 4)
    monkeypatch.setattr(evaluate.figures, "predictions", lambda path, paths, *_: drawn.append([p.name for p in paths]))
    evaluate.main()
    swap_labels(data)
    evaluate.main()
    tested = sorted((row["sha256"], Path(row["path"]).name) for row in data if row["split"] == "test")
    assert drawn == [[name for _, name in tested[:4]]] * 2


def test_figures_call_classes_by_their_display_names_and_files_by_their_labels(data, monkeypatch):
    called = {"red": "rouge", "blue": "bleu", "green": "vert"}
    write_json("models/labels.json", {"labels": LABELS, "display_names": called, "image_size": 16, "resize": "squash"})
    shown = []
    monkeypatch.setattr(evaluate.figures, "confusion", lambda path, matrix, names: shown.append(names))
    evaluate.main()
    assert shown == [["bleu", "vert", "rouge"]]
    assert read("confusion_matrix.json")["labels"] == LABELS
    assert {row["predicted"] for row in read_rows(METRICS / "predictions.csv")} == set(LABELS)


def test_no_output_names_a_place_on_this_machine(data, project):
    evaluate.main()
    for path in METRICS.rglob("*.*"):
        assert str(project.folder.parent).encode() not in path.read_bytes()


def test_without_a_model_the_stage_ends_with_one_line(data, project, run_python):
    Path("models/classifier.tflite").unlink()
    result = run_python("-m", "stages.evaluate", folder=project.folder)
    assert result.returncode == 1
    assert result.stderr == "error: models/classifier.tflite: no such file; `dvc repro` writes it\n"
    assert not METRICS.exists()


@pytest.fixture
def features(data):
    """Features that are the mean colour of each image, blurred a little."""
    draw = np.random.default_rng(0)
    colours = np.eye(3)[[LABELS.index(row["label"]) for row in data]]
    Path("data/features").mkdir()
    np.save("data/features/features.npy", (colours + draw.normal(0, 0.1, (len(data), 3))).astype(np.float32))


def test_the_head_is_judged_on_both_parts_under_names_of_its_own(features):
    train_head.main()
    found = read("head.json")
    assert list(found) == ["head", "head_validation"]
    assert (found["head"]["images"], found["head"]["accuracy"]) == (9, 1.0)
    assert found["head_validation"]["accuracy"] == 1.0
    assert found["head_validation"]["loss"] < 0.1


def test_the_head_has_the_same_bytes_each_time(features):
    train_head.main()
    first = Path("models/head.npz").read_bytes()
    train_head.main()
    assert Path("models/head.npz").read_bytes() == first


def saved_head():
    ((kernel, bias),) = head.read("models/head.npz").dense
    return np.vstack([kernel, bias])


def changed(part, data):
    rows = np.load("data/features/features.npy")
    rows[[row["split"] == part for row in data]] *= 3
    np.save("data/features/features.npy", rows)


def test_the_head_never_sees_the_test_part(features, data):
    train_head.main()
    first = saved_head()
    changed("test", data)
    train_head.main()
    np.testing.assert_array_equal(saved_head(), first)


def test_of_the_validation_part_the_head_takes_its_temperature_alone(features, data):
    train_head.main()
    first = saved_head()
    changed("validation", data)
    train_head.main()
    second = saved_head()
    np.testing.assert_allclose(second / np.abs(second).max(), first / np.abs(first).max(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "told"), [(0, ""), (0.25, ", and 25% linear discriminant analysis")])
def test_the_strength_of_the_penalty_and_the_share_of_the_discriminant_can_be_given(
    share, told, project, features, capsys
):
    project.set(head__C=0.5, head__lda=share)
    train_head.main()
    assert capsys.readouterr().out.startswith(f"logistic regression, C 0.5{told}\n")


def widened(data):
    """Give each image the same features so many times that there are more than a discriminant takes."""
    np.save("data/features/features.npy", np.tile(np.load("data/features/features.npy"), 1400))


def test_of_thousands_of_features_auto_leaves_the_discriminant_out(features, data, capsys):
    widened(data)
    train_head.main()
    assert "lda" not in capsys.readouterr().out
    assert read("head.json")["head"]["accuracy"] == 1.0


def test_a_share_of_the_discriminant_that_cannot_be_is_a_mistake_and_writes_nothing(features, data, project):
    project.set(head__lda=0.5)
    widened(data)
    expected = r"head.lda: 0.5, but there are 4,200 features, more than 4,096; 0 does without"
    with pytest.raises(GraftError, match=expected):
        train_head.main()
    assert not Path("models/head.npz").exists()


LAYERS = {"head__lr": 0.05, "head__epochs": 40, "head__batch_size": 8}
KINDS = {
    "linear": {},
    "mlp": LAYERS | {"head__kind": "mlp", "head__widths": [8]},
    "se": LAYERS | {"head__kind": "se", "head__ratio": 1, "pooling": "none"},
}


def as_maps(places=(1, 1)):
    """Give each image a map of the same feature at all places."""
    rows = np.load("data/features/features.npy")
    np.save("data/features/features.npy", np.tile(rows[:, np.newaxis, np.newaxis], (1, *places, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_learns_and_has_the_same_bytes_each_time(features, project, kind):
    project.set(**KINDS[kind])
    if kind == "se":
        as_maps((2, 2))
    written = set()
    for _ in range(2):
        train_head.main()
        written.add(Path("models/head.npz").read_bytes())
    assert len(written) == 1
    assert head.read("models/head.npz").kind == kind
    assert read("head.json")["head"]["accuracy"] == 1.0


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_map_is_as_good_as_pooled_features(features, project, kind):
    project.set(**KINDS[kind] | {"pooling": "none"})
    as_maps((2, 1))
    train_head.main()
    assert read("head.json")["head"]["accuracy"] == 1.0


@pytest.fixture
def views(features, data):
    """Two views of each training image: the first like the image, the second dark, which tells nothing."""
    rows = np.load("data/features/features.npy")[[row["split"] == "train" for row in data]]
    np.save("data/features/views.npy", np.stack([rows, 0 * rows], axis=1).reshape(-1, 3))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_learns_from_the_views_that_it_is_told_to(views, project, kind):
    losses = []
    for number in (0, 2):
        project.set(head__views=number, **KINDS[kind])
        train_head.main()
        losses.append(head.read("models/head.npz").dense[0][0])
    assert not np.allclose(*losses)
    assert read("head.json")["head"]["accuracy"] == 1.0


def test_views_that_are_their_images_leave_the_linear_head_as_it_is(features, data, project):
    train_head.main()
    first = saved_head()
    rows = np.load("data/features/features.npy")[[row["split"] == "train" for row in data]]
    np.save("data/features/views.npy", rows.repeat(3, axis=0))
    project.set(head__views=3)
    train_head.main()
    np.testing.assert_allclose(saved_head(), first, rtol=0.02, atol=0.02 * np.abs(first).max())


def test_a_linear_head_is_trained_without_tensorflow(features, project, run_python):
    script = (
        "import sys; from stages import train_head; train_head.main(); "
        "sys.exit(not {'keras', 'tensorflow'}.isdisjoint(sys.modules))"
    )
    assert run_python("-c", script, folder=project.folder).returncode == 0
