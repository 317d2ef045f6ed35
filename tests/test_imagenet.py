"""`graft predict --imagenet`: pretrained networks with their published classes. Only Lite's weights are installed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from graft.__main__ import command
from graft.backbone import build
from graft.core.errors import GraftError
from graft.images import loader
from graft.serving.classifier import Prediction
from graft.settings import backbone_table


@pytest.fixture
def run_predict(project, capsys):
    """Return a function that runs the command with --imagenet and returns the lines it prints."""

    def run(*arguments):
        assert command(["predict", "--imagenet", *map(str, arguments)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def photo(image_folder):
    return image_folder / "red/000.jpg"


@pytest.fixture(scope="module")
def lite():
    return build.imagenet_classifier("EfficientNetLite0")


def expected(model, photo):
    scaled = build.preprocess("EfficientNetLite0", loader.load(photo, 224, "crop")[np.newaxis])
    return np.asarray(model(scaled, training=False))[0]


def test_the_five_most_probable_of_the_thousand_classes_are_named(run_predict, photo, lite):
    (line,) = run_predict("--json", photo)
    classes = json.loads(line)["classes"]
    shares = expected(lite, photo)
    order = np.argsort(-shares)[:5]
    names = build.imagenet_names()
    assert [one["label"] for one in classes] == [names[index] for index in order]
    assert [one["probability"] for one in classes] == pytest.approx(shares[order], abs=2e-6)


def test_a_line_has_the_first_synonym_of_each_class(run_predict, photo):
    (found,) = run_predict("--json", photo)
    (line,) = run_predict(photo)
    first = json.loads(found)["classes"][0]
    assert first["name"] == first["label"].split(",")[0]
    assert line.startswith(f"{photo}: {first['name']} {first['probability']:.1%}, ")
    assert line.count("%") == 5


def test_the_weights_may_be_a_file_of_the_whole_network(run_predict, photo, lite, tmp_path):
    changed = build.imagenet_classifier("EfficientNetLite0")
    kernel, bias = changed.get_layer("predictions").get_weights()
    changed.get_layer("predictions").set_weights([kernel * 0, bias * 0 + np.arange(1000) / 1000])
    changed.save_weights(tmp_path / "own.weights.h5")
    (line,) = run_predict("--json", "--weights", tmp_path / "own.weights.h5", "--top", 1, photo)
    assert json.loads(line)["classes"][0]["label"] == build.imagenet_names()[999]


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_weights_of_a_keras_network_with_top_are_read_from_either_format(tmp_path, suffix):
    from graft.backbone.architectures import family_of

    record = backbone_table.get("MobileNetV2_035")
    model = family_of(record).untrained_classifier(record)
    path = str(tmp_path / f"own{suffix}")
    model.save(path) if suffix == ".h5" else model.save_weights(path)
    loaded = build.imagenet_classifier("MobileNetV2_035", path)
    assert loaded.output_shape == (None, 1000)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_untrained_whole_network_is_the_published_one_but_for_its_weights(lite):
    from graft.backbone.architectures import family_of

    record = backbone_table.get("EfficientNetB0")
    layers = [layer.name for layer in family_of(record).untrained_classifier(record).layers]
    # EfficientNet has one more division with its ImageNet weights.
    assert "rescaling_1" in layers
    assert layers[-1] == "predictions"


def test_weights_without_top_are_refused_in_one_line(run_predict, photo, tmp_path):
    build.build("MobileNetV2_035", 32, "none").save_weights(tmp_path / "no_top.weights.h5")
    with pytest.raises(GraftError, match=r"^weights: [^\n]* does not hold the weights of MobileNetV2_035 with top \("):
        run_predict("--backbone", "MobileNetV2_035", "--weights", tmp_path / "no_top.weights.h5", photo)


def test_weights_that_cannot_be_downloaded_are_one_line(run_predict, photo, monkeypatch):
    def fail(name, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    build.build("MobileNetV2", 32, "none")
    monkeypatch.setattr(sys.modules["keras.src.applications.mobilenet_v2"].file_utils, "get_file", fail)
    with pytest.raises(GraftError, match="weights of MobileNetV2 could not be fetched"):
        run_predict("--backbone", "MobileNetV2", photo)


@pytest.mark.parametrize("arguments", [(), ("--backbone", "simple_cnn"), ("--weights", "own.h5")])
def test_where_params_yaml_names_a_network_without_these_classes_the_line_names_an_option_that_helps(
    run_predict, project, photo, arguments
):
    project.set(backbone="simple_cnn", weights="none", image_size=32)
    with pytest.raises(GraftError, match="^backbone: simple_cnn has no classification layers for ImageNet; ") as raised:
        run_predict(*arguments, photo)
    advice = str(raised.value).split("`")[1].split()
    assert len(run_predict(*advice, photo)) == 1


def test_an_unknown_backbone_is_refused_with_the_nearest(run_predict, photo):
    with pytest.raises(GraftError, match="'VGG15' is not known; did you mean .*'VGG16'"):
        run_predict("--backbone", "VGG15", photo)


class Recorder:
    """Replaces the network and records its arguments."""

    asked: list[tuple[str, str, str, int]] = []
    labels = names = ["a", "b"]
    coverage = None

    def __init__(self, *arguments):
        self.asked.append(arguments)

    def predict(self, path):
        return Prediction(np.array([0.5, 0.5]), None, None, None)


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr("graft.serving.imagenet.ImagenetClassifier", Recorder)
    monkeypatch.setattr(Recorder, "asked", [])
    return Recorder.asked


def test_backbone_resize_and_largest_image_are_those_of_params_yaml_by_default(run_predict, project, photo, asked):
    project.set(backbone="VGG16", resize="pad", limits__pixels=5000)
    run_predict(photo)
    run_predict("--backbone", "InceptionV3", photo)
    assert asked == [("VGG16", "imagenet", "pad", 5000), ("InceptionV3", "imagenet", "pad", 5000)]


def test_without_params_yaml_the_backbone_is_lite0(run_predict, photo, asked):
    Path("params.yaml").unlink()
    run_predict(photo)
    assert asked == [("EfficientNetLite0", "imagenet", "crop", 64_000_000)]
