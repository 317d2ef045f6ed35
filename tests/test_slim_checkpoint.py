"""Checkpoints of TF-slim as `weights`: the networks of slim, read by names; anything else is one line."""

import functools
import random
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import slim_networks
import tensorflow as tf
from compiled_networks import relative_distance

from graft.backbone.build import build, imagenet_classifier, preprocess
from graft.backbone.weights import load_weights
from graft.core.errors import GraftError
from graft.settings.resolved import resolved_weights, weights_source
from stages import resolve

MOBILE = "MobileNetV2_035"


def pixels(size):
    return np.random.default_rng(1).integers(0, 256, (2, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def mobile():
    """Logits of two images, and the variables, of slim's MobileNetV2 of width 0.35 with its top."""
    return slim_networks.mobilenet_v2(pixels(224), 0.35, with_top=True)


@pytest.fixture(scope="module")
def checkpoint(mobile, tmp_path_factory):
    return slim_networks.write(tmp_path_factory.mktemp("slim") / "mobilenet_v2_0.35_224.ckpt", mobile[1])


@pytest.fixture
def changed(mobile, tmp_path):
    """Return a function that writes a checkpoint with other variables beside, or without some."""

    def write(add=None, without=None):
        variables = {name: value for name, value in mobile[1].items() if name != without} | (add or {})
        return slim_networks.write(tmp_path / "changed.ckpt", variables)

    return write


@functools.cache
def untrained(name):
    return build(name, 96, "none")


def refusal(name, path):
    with pytest.raises(GraftError) as caught:
        load_weights(untrained(name), path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"weights: {path} does not hold the weights of {name} without top (")
    return message


def loaded(path):
    """Return the network with the weights of a checkpoint, as `build` does; it is built once for all."""
    load_weights(untrained(MOBILE), path)
    return untrained(MOBILE)


NETWORKS = {
    "VGG16": (32, slim_networks.vgg16),
    "InceptionV3": (75, slim_networks.inception_v3),
    "MobileNetV2_035": (64, lambda images: slim_networks.mobilenet_v2(images, 0.35)),
    "MobileNetV2": (64, lambda images: slim_networks.mobilenet_v2(images, 1.0)),
    "MobileNetV2_140": (64, lambda images: slim_networks.mobilenet_v2(images, 1.4)),
}


# These stand for the rest in every run of the tests.
QUICK = ("VGG16", "InceptionV3", "MobileNetV2_035")


@pytest.mark.parametrize(
    ("name", "size", "slim"),
    [pytest.param(name, *rest, marks=[] if name in QUICK else [pytest.mark.slow]) for name, rest in NETWORKS.items()],
    ids=NETWORKS,
)
def test_the_network_gives_what_slims_gives_for_the_same_image(name, size, slim, tmp_path):
    expected, variables = slim(pixels(size))
    model = build(name, size, slim_networks.write(tmp_path / "slim.ckpt", variables))
    found = model(preprocess(name, pixels(size)), training=False)
    assert relative_distance(found, expected) < 1e-4


def test_the_top_gives_the_shares_of_the_thousand_classes_without_the_first_of_slims(mobile, checkpoint):
    model = imagenet_classifier(MOBILE, checkpoint)
    found = model(preprocess(MOBILE, pixels(224)), training=False)
    shares = np.exp(mobile[0][:, 1:] - np.max(mobile[0], 1, keepdims=True))
    np.testing.assert_allclose(found, shares / shares.sum(1, keepdims=True), rtol=1e-3)


def test_dense_layers_are_slims_convolutions_row_by_row(tmp_path):
    """VGG16 in small: its real top takes half a gigabyte."""
    images = x = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="block1_conv1")(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dense(6, "relu", name="fc1")(x)
    x = keras.layers.Dense(5, "relu", name="fc2")(x)
    model = keras.Model(images, keras.layers.Dense(1000, name="predictions")(x), name="VGG16")
    slim = slim_networks.Slim("vgg_16")
    maps = slim.convolution(pixels(4), "conv1/conv1_1", 3, (3, 3), norm=())
    expected = tf.nn.max_pool2d(maps, 2, 2, "VALID")
    for scope, units, side in (("fc6", 6, 2), ("fc7", 5, 1), ("fc8", 1000, 1)):
        last = {"activation": tf.identity} if scope == "fc8" else {}
        expected = slim.convolution(expected, scope, units, (side, side), padding="VALID", norm=(), **last)
    load_weights(model, slim_networks.write_v1(tmp_path / "vgg_16.ckpt", slim.variables), "with")
    # Keras's VGG16 takes blue, green and red.
    np.testing.assert_allclose(model(pixels(4)[..., ::-1]), expected[:, 0, 0], rtol=1e-3, atol=1e-3)


def test_moving_averages_are_taken_where_the_checkpoint_has_them(mobile, changed):
    kernel, mean = "MobilenetV2/Conv/weights", "MobilenetV2/expanded_conv_3/project/BatchNorm/moving_mean"
    averages = {f"{name}/ExponentialMovingAverage": mobile[1][name] + 1 for name in (kernel, mean)}
    model = loaded(changed(averages))
    np.testing.assert_array_equal(model.get_layer("Conv1").kernel, mobile[1][kernel] + 1)
    np.testing.assert_array_equal(model.get_layer("block_3_project_BN").moving_mean, mobile[1][mean] + 1)
    untouched = "MobilenetV2/Conv_1/weights"
    np.testing.assert_array_equal(model.get_layer("Conv_1").kernel, mobile[1][untouched])


def test_what_training_leaves_beside_the_weights_is_not_read(mobile, changed):
    kernel = "MobilenetV2/Conv/weights"
    left = {f"{kernel}/RMSProp_1": mobile[1][kernel], f"{kernel}/Momentum": mobile[1][kernel]}
    model = loaded(changed(left | {"global_step": np.int64(5)}))
    np.testing.assert_array_equal(model.get_layer("Conv1").kernel, mobile[1][kernel])


def test_a_missing_variable_is_named(changed):
    name = "MobilenetV2/expanded_conv_5/depthwise/depthwise_weights"
    assert f"1 of 260 variables are missing, as {name})" in refusal(MOBILE, changed(without=name))


def test_a_variable_that_the_network_does_not_have_is_named(changed):
    name = "MobilenetV2/expanded_conv_17/expand/weights"
    path = changed({name: np.zeros((1, 1, 1, 1), np.float32)})
    assert f"1 of its variables are not in this network, as {name})" in refusal(MOBILE, path)


def test_another_width_is_refused_by_its_shape(checkpoint):
    message = refusal("MobileNetV2", checkpoint)
    assert "MobilenetV2/Conv/weights has shape (3, 3, 3, 16) where (3, 3, 3, 32) is needed" in message


@pytest.mark.parametrize("name", ["VGG16", "InceptionV3"])
def test_the_checkpoint_of_another_network_is_refused(name, checkpoint):
    assert "variables are missing" in refusal(name, checkpoint)


@pytest.mark.parametrize("name", ["EfficientNetLite0", "MobileNet"])
def test_networks_whose_names_in_slim_are_not_known_are_refused(name, checkpoint):
    message = refusal(name, checkpoint)
    assert f"a checkpoint of TF-slim is read for VGG16, InceptionV3 and MobileNetV2, not for {name}" in message


def test_not_a_number_is_refused(mobile, changed):
    name = "MobilenetV2/Conv/weights"
    assert "no finite values for" in refusal(MOBILE, changed({name: mobile[1][name] * np.nan}))


def test_a_checkpoint_that_does_not_exist_is_one_line(tmp_path):
    refusal(MOBILE, str(tmp_path / "none.ckpt"))


def test_a_text_is_one_line(tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    refusal(MOBILE, str(tmp_path / "text.ckpt"))


def test_a_value_that_does_not_fit_its_checksum_is_refused(changed):
    path = changed()
    data = Path(f"{path}.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert "Checksum does not match" in refusal(MOBILE, path)


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_checkpoint_is_one_line(version, seed, tmp_path):
    draw = random.Random(seed)
    write = {"V1": slim_networks.write_v1, "V2": slim_networks.write}[version]
    path = write(tmp_path / "damaged.ckpt", {"MobilenetV2/Conv/weights": np.ones((3, 3, 3, 16), np.float32)})
    file = draw.choice(sorted(tmp_path.iterdir()))
    content = bytearray(file.read_bytes())
    if seed % 2:
        del content[draw.randrange(len(content)) :]
    else:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    refusal(MOBILE, path)


def test_a_checkpoint_without_its_data_is_one_line(checkpoint, tmp_path):
    shutil.copy(f"{checkpoint}.index", tmp_path / "half.ckpt.index")
    refusal(MOBILE, str(tmp_path / "half.ckpt"))


PARTS = ["", ".index", ".data-00000-of-00001"]


@pytest.mark.parametrize("part", PARTS)
def test_a_checkpoint_goes_by_its_name_or_by_one_of_its_files(checkpoint, mobile, part):
    model = loaded(checkpoint + part)
    np.testing.assert_array_equal(model.get_layer("Conv1").kernel, mobile[1]["MobilenetV2/Conv/weights"])


@pytest.mark.parametrize("part", PARTS)
def test_resolve_links_the_file_that_changes_with_every_value(project, checkpoint, part):
    project.set(backbone=MOBILE, weights=checkpoint + part)
    resolve.main()
    assert Path("data/weights").resolve() == Path(f"{checkpoint}.index")
    loaded(resolved_weights(Path("data/weights")))


def test_the_linked_file_changes_with_a_single_value(mobile, changed, tmp_path):
    name = "MobilenetV2/Conv/weights"
    first = weights_source(changed(), tmp_path).read_bytes()
    other = mobile[1][name].copy()
    other[0, 0, 0, 0] = np.nextafter(other[0, 0, 0, 0], np.float32(9))
    assert weights_source(changed({name: other}), tmp_path).read_bytes() != first


def test_a_checkpoint_in_one_file_is_linked_itself(tmp_path):
    path = slim_networks.write_v1(tmp_path / "vgg_16.ckpt", {"a": np.ones(3, np.float32)})
    assert weights_source(path, tmp_path) == Path(path)
