"""Stage export: which model is exported, at which image size, and with which display names."""

import json

import numpy as np
import pytest
from clones import SMALL

from graft.core.files import read_rows, write_rows
from graft.scores import metrics
from graft.serving import export
from graft.serving.classifier import Classifier
from graft.settings import params
from stages import export as stage

LABELS = ["daisy", "roses", "tulips"]


@pytest.mark.parametrize("setting", [None, {}])
def test_without_a_setting_no_class_has_another_name(setting):
    assert export.display_names(setting, LABELS) == {}


def test_names_are_given_to_some_or_all_classes_in_the_order_of_the_labels(capsys):
    found = export.display_names({"tulips": "郁金香", "daisy": "雏菊"}, LABELS)
    assert list(found.items()) == [("daisy", "雏菊"), ("tulips", "郁金香")]
    assert capsys.readouterr().err == ""


def test_a_name_for_an_unknown_class_is_left_out_with_a_warning(capsys):
    assert export.display_names({"dasy": "雏菊", "roses": "玫瑰"}, LABELS) == {"roses": "玫瑰"}
    message = capsys.readouterr().err
    assert message == "warning: display_names: no class is called 'dasy'; did you mean 'daisy'?\n"


def test_names_of_unknown_classes_are_listed_for_the_metrics():
    assert export.unknown_display_names({"dasy": "雏菊", "roses": "玫瑰"}, LABELS) == ["dasy"]
    assert export.unknown_display_names(None, LABELS) == []


@pytest.mark.parametrize(
    ("setting", "free", "expected"),
    [
        ("auto", True, [1, 8 / 7]),
        (1, True, [1]),
        (1.5, True, [1.5]),
        ("auto", False, [1]),
    ],
)
def test_the_size_is_chosen_by_the_validation_part_where_it_is_free(setting, free, expected):
    assert list(export.scales(setting, free, validation_images=100)) == expected


@pytest.mark.parametrize(("setting", "expected"), [("auto", [1]), (1.5, [1.5])])
def test_by_few_validation_images_no_size_is_chosen(setting, expected):
    assert list(export.scales(setting, True, validation_images=99)) == expected


@pytest.mark.parametrize(
    ("pooling", "resize", "expected"),
    # Not where the head has a weight for each place of the map, nor where a larger image shows more at the same scale.
    [("avg", "crop", True), ("none", "crop", False), ("avg", "crop_or_pad", False)],
)
def test_the_size_is_free_where_the_network_accepts_larger_images(pooling, resize, expected):
    assert params.can_be_enlarged(pooling, resize) == expected


@pytest.mark.parametrize(
    ("setting", "epochs", "expected"),
    [
        ("best_on_validation", 8, ["head", "fine_tuned"]),
        ("best_on_validation", "auto", ["head", "fine_tuned"]),
        ("head", 8, ["head"]),
        ("fine_tuned", 8, ["fine_tuned"]),
        # Without fine-tuning the two differ by rounding alone, and chance would choose.
        ("best_on_validation", 0, ["head"]),
    ],
)
def test_the_model_is_chosen_by_the_validation_part_where_it_is_free(setting, epochs, expected):
    assert export.models(setting, epochs) == expected


@pytest.fixture
def here(clone, monkeypatch):
    """The clone as current folder."""
    monkeypatch.chdir(clone.path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return clone


def exported_with(clone, **settings):
    """Export with other settings; return metrics/export.json and the metrics of the file on the validation part."""
    clone.set(**settings)
    stage.main()
    rows = [row for row in read_rows(clone.path / "data/split.csv") if row["split"] == "validation"]
    classifier = Classifier(clone.path / "models/classifier.tflite", clone.path / "models/labels.json")
    shares = np.stack(list(classifier.all_probabilities([clone.path / "data/raw" / row["path"] for row in rows])))
    labels = np.array([classifier.labels.index(row["label"]) for row in rows])
    written = json.loads((clone.path / "metrics/export.json").read_text(encoding="utf-8"))
    return written, metrics.accuracy_and_loss(shares, labels)


def test_a_name_for_an_unknown_class_stands_in_the_metrics(here):
    assert "unknown_display_names" not in json.loads((here.path / "metrics/export.json").read_text(encoding="utf-8"))
    written, _ = exported_with(here, display_names={"red": "rouge", "rad": "rouge"})
    assert written["unknown_display_names"] == ["rad"]


def repeat_validation(clone, times):
    """Repeat the validation images; return how many there are then."""
    path = clone.path / "data/split.csv"
    rows = read_rows(path)
    repeated = times * [row for row in rows if row["split"] == "validation"]
    write_rows(path, tuple(rows[0]), [row for row in rows if row["split"] != "validation"] + repeated)
    return len(repeated)


def test_the_model_and_size_with_the_lowest_loss_of_the_exported_file_on_the_validation_part_are_exported(here):
    assert repeat_validation(here, times=20) >= export.ENOUGH_FOR_SCALES
    small, large = SMALL["image_size"], round(SMALL["image_size"] * 8 / 7)
    each = []
    for size, scale in ((small, 1), (large, 8 / 7)):
        for model in ("head", "fine_tuned"):
            written, found = exported_with(here, export__test_resolution=scale, export__model=model)
            assert (written["exported"], written["image_size"]) == (model, size)
            assert written["exported_validation"] == pytest.approx(found, rel=1e-4)
            each.append(written)
    assert len({one["exported_validation"]["loss"] for one in each}) == len(each)
    chosen, _ = exported_with(here, export__test_resolution="auto", export__model="best_on_validation")
    assert chosen == min(each, key=lambda one: one["exported_validation"]["loss"])
