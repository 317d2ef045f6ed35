"""Stage export: which model, what the classes are to be called, and at which size the network is exported."""

import json
import sys

import numpy as np
import pytest
from clones import SMALL

from stages import export
from stages.parts import params, scores
from stages.parts.classifier import Classifier
from stages.parts.files import read_rows

LABELS = ["daisy", "roses", "tulips"]


@pytest.mark.parametrize(
    ("head", "fine_tuned", "expected"),
    [
        ({"accuracy": 0.95, "loss": 0.20}, {"accuracy": 0.94, "loss": 0.15}, "fine_tuned"),
        ({"accuracy": 0.94, "loss": 0.15}, {"accuracy": 0.95, "loss": 0.20}, "head"),
        # Nothing was fine-tuned.
        ({"accuracy": 0.95, "loss": 0.20}, {"accuracy": 0.95, "loss": 0.20}, "head"),
    ],
)
def test_the_model_with_the_lower_loss_on_the_validation_part_is_exported(head, fine_tuned, expected):
    assert export.chosen("best_on_validation", head, fine_tuned) == expected


@pytest.mark.parametrize("setting", ["head", "fine_tuned"])
def test_a_model_that_is_asked_for_is_exported_whatever_its_loss(setting):
    assert export.chosen(setting, {"accuracy": 0.9, "loss": 0.2}, {"accuracy": 0.9, "loss": 0.2}) == setting


@pytest.mark.parametrize("setting", [None, {}])
def test_without_a_setting_no_class_has_another_name(setting):
    assert export.display_names(setting, LABELS) == {}


def test_names_are_given_to_some_or_all_classes_in_the_order_of_the_labels(capsys):
    found = export.display_names({"tulips": "郁金香", "daisy": "雏菊"}, LABELS)
    assert list(found.items()) == [("daisy", "雏菊"), ("tulips", "郁金香")]
    assert capsys.readouterr().err == ""


def test_a_name_for_a_class_that_there_is_not_is_told_and_left_out(capsys):
    assert export.display_names({"dasy": "雏菊", "roses": "玫瑰"}, LABELS) == {"roses": "玫瑰"}
    message = capsys.readouterr().err
    assert message == "warning: display_names: no class is called 'dasy'; did you mean 'daisy'?\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 8 / 7]),
        ({"export.scale": "1"}, [1]),
        ({"export.scale": "1.5"}, [1.5]),
        # Where the head weighs each place of the map, and where a larger square is more of the image at the same scale.
        ({"pooling": "none"}, [1]),
        ({"resize": "crop_or_pad"}, [1]),
    ],
)
def test_the_size_is_chosen_by_the_validation_part_where_it_is_free(changes, expected):
    assert list(export.scales(params.load(changes=changes))) == expected


def exported_with(clone, **settings):
    """Export with other settings; return metrics/export.json and the figures of the file on the validation images."""
    clone.set(**settings)
    clone.run(sys.executable, "-m", "stages.export")
    rows = [row for row in read_rows(clone.path / "data/split.csv") if row["split"] == "validation"]
    classifier = Classifier(clone.path / "models/classifier.tflite", clone.path / "models/labels.json")
    shares = np.stack(list(classifier.all_probabilities([clone.path / "data/raw" / row["path"] for row in rows])))
    labels = np.array([classifier.labels.index(row["label"]) for row in rows])
    told = json.loads((clone.path / "metrics/export.json").read_text(encoding="utf-8"))
    return told, scores.choice(shares, labels)


def test_the_exported_size_is_the_one_whose_very_file_does_best_on_the_validation_part(clone):
    small, large = SMALL["image_size"], round(SMALL["image_size"] * 8 / 7)
    told = {}
    for size, scale in ((small, 1), (large, 8 / 7)):
        told[size], found = exported_with(clone, export__scale=scale)
        assert told[size]["image_size"] == size
        assert told[size]["exported_validation"] == pytest.approx(found, rel=1e-4)
    best = min(told, key=lambda size: told[size]["exported_validation"]["loss"])
    chosen, _ = exported_with(clone, export__scale="auto")
    assert chosen == told[best]
