"""What the exported classifier does not know: its sets, its second output, and their figures."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from split_files import write_split

from graft.activations.litert import Network
from graft.backbone.compile import compile_network
from graft.core import paths
from graft.core.files import read_json, read_rows, write_json, write_rows
from graft.images.table import COLUMNS, read_image_table
from graft.scores.known import KnownScore, unit_rows
from graft.scores.loss import softmax
from graft.serving.classifier import Classifier
from graft.serving.generated import KINDS, OF_EACH_KIND, write_pictures
from graft.serving.judged import Judge
from graft.serving.limits_figures import limits_figures, set_figures
from graft.serving.none_of_these import limits, measure, none_of_these
from stages import evaluate, export

LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "crop", "crops": 2}
FILES = Path("models/classifier.tflite"), Path("models/labels.json")
SHARPNESS = 8


def network(second, sharpness=SHARPNESS):
    """A classifier of blue, green and red whose features are the mean of each colour, with a second output."""
    image = keras.Input((16, 16, 3))
    features = keras.layers.GlobalAveragePooling2D()(image)
    dense = keras.layers.Dense(3)
    probabilities = keras.ops.softmax(dense(features))
    model = keras.Model(image, [probabilities, second(probabilities, features)])
    dense.set_weights([sharpness * np.eye(3)[:, ::-1], np.zeros(3)])
    return compile_network(model, lambda images: images / 255)


def limits_of(table, coverage=0.9, temperature=1.0):
    (measured,) = measure(network(lambda _, features: features), DESCRIPTION, table)
    return limits(measured, temperature, table.part("validation").labels, coverage)


def judged(predictions, table):
    judge = Judge(table.part("test").labels, LABELS, [], 0)
    assert len(list(judge.each(predictions))) == len(table.part("test"))
    return judge.judged()


@pytest.fixture
def table(project, tmp_path, write_image_folder):
    """Images of blue, green and red: 30 in the validation part and as many in the test part, 60 in training."""
    Path("models").mkdir()
    write_split(write_image_folder(tmp_path / "photos", count=40))
    return read_image_table()


@pytest.fixture
def exported(table):
    """The files of a classifier with prediction sets and a second output, in models/."""
    found = limits_of(table)
    FILES[0].write_bytes(network(found.second_output))
    write_json(FILES[1], DESCRIPTION | found.description)
    return Classifier(*FILES)


def test_the_keys_of_the_description_are_the_thresholds(table):
    found = limits_of(table)
    assert found.warnings == []
    assert found.description["none_of_these"] == {"output": 1, "threshold": 0.5, "accepted": 0.95}
    assert found.description["prediction_set"]["coverage"] == 0.9
    assert 1 / 3 < found.description["prediction_set"]["least_probability"] < 1


def test_the_thresholds_are_those_of_the_calibrated_probabilities(table):
    sure, unsure = (limits_of(table, temperature=temperature) for temperature in (0.5, 2))
    least = [found.description["prediction_set"]["least_probability"] for found in (sure, unsure)]
    assert least[0] > least[1]


def test_with_too_few_validation_images_both_are_left_out_with_a_line_each(table):
    few = table.take(np.flatnonzero((table.parts != "validation") | (np.cumsum(table.parts == "validation") <= 18)))
    found = limits_of(few, coverage=0.99)
    assert (found.description, found.second_output) == ({}, None)
    assert found.warnings == [
        "no prediction sets: predict.coverage 0.99 needs 99 images, and the validation part has 18 images",
        'no "none of these": it needs 19 images, and the validation part has 18 images',
    ]


def test_the_limits_are_the_same_to_the_last_bit_each_time(table):
    first, second = limits_of(table), limits_of(table)
    assert first.description == second.description
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    found = []
    for each in (first, second):
        FILES[0].write_bytes(network(each.second_output))
        found.append(Network(FILES[0]).all_outputs(pixels)[1].tobytes())
    assert found[0] == found[1]


def test_the_second_output_is_the_logistic_function_of_the_score(project):
    references = unit_rows(np.array([[1, 0.2, 0], [0, 1, 0.5]], np.float32))
    score = KnownScore(similarity=3.0, entropy=0.5, offset=2.0)
    Path("a.tflite").write_bytes(network(none_of_these(references, score)))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    probabilities, found = Network(Path("a.tflite")).all_outputs(pixels)
    features = pixels.mean(axis=(0, 1)) / 255
    shares = softmax(SHARPNESS * features[::-1])
    entropy = -(shares * np.log(shares)).sum()
    cosine = (references @ features / np.linalg.norm(features)).max()
    np.testing.assert_allclose(probabilities, shares, rtol=1e-4)
    assert found.shape == (1,)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(3 * cosine - 0.5 * entropy - 2.0)), rtol=1e-4)


def test_an_image_without_any_signal_has_an_answer(project):
    references = unit_rows(np.eye(3, dtype=np.float32))
    Path("a.tflite").write_bytes(network(none_of_these(references, KnownScore(1.0, 1.0, 0.0))))
    assert 0 <= Network(Path("a.tflite")).all_outputs(np.zeros((16, 16, 3), np.uint8))[1] <= 1


def test_known_images_are_accepted_and_an_image_of_another_colour_is_refused(exported, table):
    files = table.part("validation").files()
    accepted = [not prediction.is_unknown for prediction in exported.all_predictions(files)]
    # Rank 1 of 30 is the threshold: all are at it or above, up to the rounding of the network.
    assert sum(accepted) >= 29
    Image.new("RGB", (16, 16), (200, 200, 40)).save("yellow.png")
    prediction = exported.predict(Path("yellow.png"))
    assert prediction.is_unknown
    assert prediction.known_score < 0


def test_the_score_of_an_image_is_the_mean_over_its_crops(exported, draw_picture):
    picture = Image.new("RGB", (32, 16))
    for number in range(2):
        picture.paste(draw_picture((200, 50, 40), number, 16), (16 * number, 0))
    picture.save("halves.png")
    run = Network(FILES[0])
    pixels = np.asarray(picture)
    shares = [run.all_outputs(np.ascontiguousarray(pixels[:, left : left + 16]))[1][0] for left in (4, 12)]
    expected = np.mean([np.log((1 - share) / share) for share in shares])
    assert exported.predict(Path("halves.png")).known_score == pytest.approx(expected, rel=1e-4)


def test_the_prediction_set_has_the_classes_from_the_threshold_on_the_most_probable_first(exported, table):
    Image.new("RGB", (16, 16), (51, 102, 92)).save("mixed.png")
    for least, expected in ((0.0, ["green", "blue", "red"]), (0.3, ["green", "blue"]), (1.0, ["green"])):
        description = read_json(FILES[1]) | {"prediction_set": {"coverage": 0.9, "least_probability": least}}
        write_json(FILES[1], description)
        classifier = Classifier(*FILES)
        prediction = classifier.predict(Path("mixed.png"))
        assert prediction.prediction_set == expected
        assert classifier.coverage == 0.9
        np.testing.assert_array_equal(prediction.probabilities, classifier.probabilities(Path("mixed.png")))


def test_a_description_of_an_earlier_version_gives_probabilities_alone(exported, table):
    write_json(FILES[1], DESCRIPTION)
    classifier = Classifier(*FILES)
    prediction = classifier.predict(table.files()[0])
    assert (prediction.prediction_set, prediction.known_score, prediction.is_unknown) == (None, None, None)
    assert classifier.coverage is None
    assert prediction.probabilities.sum() == pytest.approx(1)


def test_the_generated_pictures_are_the_same_each_time_and_all_differ(tmp_path):
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written.append([np.asarray(Image.open(path)).tobytes() for path in write_pictures(tmp_path / name)])
    assert written[0] == written[1]
    assert len(set(written[0])) == len(KINDS) * OF_EACH_KIND


def test_the_figures_of_sets_are_their_coverage_and_size():
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]], bool)
    labels = np.array([0, 1, 2, 2])
    found = set_figures(sets[np.arange(4), labels], sets.sum(axis=1), labels)
    assert found["coverage"] == 0.75
    assert found["coverage_low"] < 0.75 < found["coverage_high"]
    assert found["lowest_class_coverage"] == 0.5
    assert (found["mean_size"], found["single"]) == (1.25, 0.75)


def test_the_figures_are_of_the_exported_file_on_the_test_part(exported, table):
    np.save("features.npy", np.zeros((len(table), 2), np.float32))
    Path("data/features").mkdir()
    Path("features.npy").rename("data/features/features.npy")
    predictions = list(exported.all_predictions(table.part("test").files()))
    found = limits_figures(exported, judged(predictions, table), table)
    assert set(found) == {"prediction_sets", "none_of_these", "class_left_out"}
    assert found["prediction_sets"]["wanted_coverage"] == 0.9
    labels = table.part("test").labels
    contained = [LABELS[label] in one.prediction_set for one, label in zip(predictions, labels, strict=True)]
    assert found["prediction_sets"]["coverage"] == pytest.approx(np.mean(contained))
    assert found["none_of_these"]["accepted"] == np.mean([not one.is_unknown for one in predictions])
    assert found["none_of_these"]["generated_images"] == 60


def test_a_part_that_is_missing_is_named_with_the_reason(exported, table, capsys):
    write_json(FILES[1], DESCRIPTION)
    classifier = Classifier(*FILES)
    predictions = classifier.all_predictions(table.part("test").files())
    found = limits_figures(classifier, judged(predictions, table), table)
    assert found == {}
    assert capsys.readouterr().err.splitlines() == [
        "metrics/unknown.json: without prediction_sets: models/labels.json has none",
        "metrics/unknown.json: without none_of_these: models/labels.json has none",
        "metrics/unknown.json: without class_left_out: it needs none_of_these, three classes, and up to 4,096 features",
    ]


def test_evaluate_writes_accuracy_and_coverage_by_threshold(exported):
    write_json(FILES[1], DESCRIPTION)
    # No epoch of fine-tuning.
    write_rows(Path("metrics/history.csv"), ["epoch", "loss"], [])
    evaluate.main()
    rows = read_rows("metrics/operating_points.csv")
    assert [row["class"] for row in rows[:3]] == LABELS
    accuracy = read_json("metrics/accuracy.json")["accuracy"]
    assert {(row["coverage"], row["accuracy"]) for row in rows[:3]} == {("1.0", str(round(accuracy, 6)))}


def test_export_warns_where_the_validation_part_is_too_small(clone, monkeypatch, capsys):
    monkeypatch.chdir(clone.path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    rows = read_rows(paths.SPLIT)
    validation = [row for row in rows if row["split"] == "validation"]
    assert len(validation) < 19
    export.main()
    assert 'warning: no "none of these": it needs 19 images, and the validation part has' in capsys.readouterr().err
    assert "prediction_set" not in read_json(FILES[1])
    write_rows(paths.SPLIT, COLUMNS, [*rows, *validation * 3])
    export.main()
    assert "warning: no" not in capsys.readouterr().err
    classifier = Classifier(*FILES)
    prediction = classifier.predict(paths.RAW / validation[0]["path"])
    assert classifier.coverage == 0.95
    assert prediction.known_score is not None
