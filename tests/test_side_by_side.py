"""`backbone: [A, B]`: the features of several networks side by side, in one network and one exported file."""

import numpy as np
import pytest
from compiled_networks import relative_distance, run_compiled

from graft.backbone.build import build, imagenet_classifier, preprocess
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut
from graft.core.errors import GraftError
from graft.settings import backbone_table, params
from graft.settings.resolved import image_size

# Two networks whose images are scaled in different ways.
LITTLE = ["MobileNetV2_035", "MobileNetV3Small"]
NAME = "MobileNetV2_035+MobileNetV3Small"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
    return build(NAME, 64, "none")


@pytest.fixture
def refusal(project):
    """Return a function that sets parameters and gives the one line that refuses them."""

    def refused(**changes):
        project.set(**({"backbone": LITTLE, "weights": "none", "fine_tune__from_layer": 1.0} | changes))
        with pytest.raises(GraftError) as caught:
            params.load()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


def features_of(name):
    model = build(name, 64, "none")
    maps = np.asarray(model(preprocess(name, PIXELS), training=False))
    features = maps.mean((1, 2))
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_the_features_of_each_have_length_one_and_stand_side_by_side(network):
    found = np.asarray(network(preprocess(NAME, PIXELS), training=False))
    assert found.shape == (2, 1, 1, 1280 + 576)
    expected = np.hstack([features_of(name) for name in LITTLE])
    assert relative_distance(found[:, 0, 0], expected) < 1e-5


def test_the_order_of_the_list_is_that_of_the_features(network):
    found = build("MobileNetV3Small+MobileNetV2_035", 64, "none")(PIXELS.astype(np.float32), training=False)
    first, second = np.split(np.asarray(found), [576], axis=-1)
    expected = network(PIXELS.astype(np.float32), training=False)
    assert relative_distance(np.concatenate([second, first], -1), expected) < 1e-5


def test_the_compiled_network_takes_pixels_as_they_are(network):
    halves = cut(network, 1.0)
    assert not halves.trainable
    found = run_compiled(compile_network(halves.trunk, NAME), PIXELS[:1])[0]
    assert relative_distance(found, network(PIXELS[:1].astype(np.float32), training=False)) < 1e-5


def test_saved_weights_are_read_into_a_new_network(network, tmp_path):
    path = tmp_path / "backbone.weights.h5"
    network.save_weights(path)
    again = build(NAME, 32, "none")
    for weight in again.weights:
        weight.assign(np.zeros(weight.shape))
    again.load_weights(path)
    for weight, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_published_weights_are_those_of_each():
    both = build("EfficientNetLite0+EfficientNetLite1", 32, "imagenet")
    alone = [build(name, 32, "imagenet") for name in ("EfficientNetLite0", "EfficientNetLite1")]
    weights = [weight for network in alone for weight in network.get_weights()]
    for weight, same in zip(both.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_the_image_size_is_the_larger_of_their_own():
    assert image_size("auto", "my/photos", "EfficientNetLite0+EfficientNetLite2") == 260


def test_a_list_of_params_yaml_is_one_name(project):
    project.set(backbone=LITTLE, weights="none", fine_tune__from_layer=1.0)
    assert params.load().backbone == NAME


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": ["VGG16"]}, "a list needs two different backbones or more"),
        ({"backbone": ["VGG16", "VGG16"]}, "a list needs two different backbones or more"),
        ({"backbone": ["VGG16", "VGG15"]}, "no backbone is called 'VGG15'; did you mean"),
        ({"backbone": ["hub/dinov2_small", "VGG16"]}, "hub/dinov2_small is a model of KerasHub; a list takes"),
        ({"backbone": ["VGG16", "simple_cnn"], "weights": "imagenet"}, "VGG16+simple_cnn has none"),
        ({"fine_tune__from_layer": 0.6}, "fine_tune.from_layer is 0.6: set 1.0"),
        ({"fine_tune__from_layer": 1}, "fine_tune.from_layer is 1: set 1.0"),
        ({"pooling": "max"}, "pooling is max: set avg"),
        ({"weights": "own.h5"}, "weights is a file: set imagenet or none"),
    ],
)
def test_what_does_not_fit_a_list_is_one_line(refusal, changes, message):
    assert message in refusal(**changes)


def test_it_has_no_classes_of_imagenet():
    with pytest.raises(GraftError, match=r"MobileNetV3Small has no classification layers for ImageNet; add"):
        imagenet_classifier(NAME)


def test_an_unknown_part_is_refused_with_the_nearest():
    with pytest.raises(GraftError, match="'VGG15' is not known; did you mean .*'VGG16'"):
        backbone_table.get("VGG16+VGG15")
