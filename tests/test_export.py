"""Stage export: which model, what the classes are to be called, and at which size the network is exported."""

import json
import sys

import numpy as np
import pytest
from clones import SMALL

from graft.core.files import read_rows, write_rows
from graft.scores import metrics
from graft.serving.classifier import Classifier
from graft.settings import params
from stages import export

LABELS = ["daisy", "roses", "tulips"]


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
        ({"export.test_resolution": "1"}, [1]),
        ({"export.test_resolution": "1.5"}, [1.5]),
        # Where the head weighs each place of the map, and where a larger square is more of the image at the same scale.
        ({"pooling": "none"}, [1]),
        ({"resize": "crop_or_pad"}, [1]),
    ],
)
def test_the_size_is_chosen_by_the_validation_part_where_it_is_free(changes, expected):
    assert list(export.scales(params.load(changes=changes), validation=100)) == expected


@pytest.mark.parametrize(("setting", "expected"), [("auto", [1]), ("1.5", [1.5])])
def test_by_few_validation_images_no_size_is_chosen(setting, expected):
    assert list(export.scales(params.load(changes={"export.test_resolution": setting}), validation=99)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["head", "fine_tuned"]),
        ({"export.model": "head"}, ["head"]),
        ({"export.model": "fine_tuned"}, ["fine_tuned"]),
        # Nothing was fine-tuned: the two would differ by rounding, and chance would say which is better.
        ({"fine_tune.epochs": "0"}, ["head"]),
    ],
)
def test_the_model_is_chosen_by_the_validation_part_where_it_is_free(changes, expected):
    assert export.models(params.load(changes=changes)) == expected


def exported_with(clone, **settings):
    """Export with other settings; return metrics/export.json and the figures of the file on the validation images."""
    clone.set(**settings)
    clone.run(sys.executable, "-m", "stages.export")
    rows = [row for row in read_rows(clone.path / "data/split.csv") if row["split"] == "validation"]
    classifier = Classifier(clone.path / "models/classifier.tflite", clone.path / "models/labels.json")
    shares = np.stack(list(classifier.all_probabilities([clone.path / "data/raw" / row["path"] for row in rows])))
    labels = np.array([classifier.labels.index(row["label"]) for row in rows])
    told = json.loads((clone.path / "metrics/export.json").read_text(encoding="utf-8"))
    return told, metrics.choice(shares, labels)


def repeat_validation(clone, times):
    """Make many validation images of few; return how many."""
    path = clone.path / "data/split.csv"
    rows = read_rows(path)
    repeated = times * [row for row in rows if row["split"] == "validation"]
    write_rows(path, tuple(rows[0]), [row for row in rows if row["split"] != "validation"] + repeated)
    return len(repeated)


def test_of_models_and_sizes_that_is_exported_whose_very_file_has_the_lowest_loss_on_the_validation_part(clone):
    assert repeat_validation(clone, times=20) >= export.ENOUGH_FOR_SCALES
    small, large = SMALL["image_size"], round(SMALL["image_size"] * 8 / 7)
    told = []
    for size, scale in ((small, 1), (large, 8 / 7)):
        for model in ("head", "fine_tuned"):
            each, found = exported_with(clone, export__test_resolution=scale, export__model=model)
            assert (each["exported"], each["image_size"]) == (model, size)
            assert each["exported_validation"] == pytest.approx(found, rel=1e-4)
            told.append(each)
    assert len({each["exported_validation"]["loss"] for each in told}) == len(told)
    chosen, _ = exported_with(clone, export__test_resolution="auto", export__model="best_on_validation")
    assert chosen == min(told, key=lambda each: each["exported_validation"]["loss"])
