"""The head on the backbone: the same logits as the head gives on its own, whatever its kind."""

import keras
import numpy as np
import pytest

from graft.activations.litert import Network
from graft.backbone.cut import cut
from graft.backbone.frozen import Backbone
from graft.heads.attach import attach_head, compile_classifier, compile_together, set_temperature, trainable_network
from graft.heads.head import Head, linear
from graft.scores.known import averaged
from graft.scores.loss import softmax
from graft.settings.pooling import pool_tensor

CHANNELS, CLASSES = 4, 3


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def dense(inputs, outputs):
    return random(inputs, outputs), random(outputs)


# By the head's name: how the backbone's map becomes the features that it takes, and the head.
HEADS = {
    "linear": ("avg", linear(*dense(CHANNELS, CLASSES))),
    "linear on a map": ("none", linear(*dense(9 * CHANNELS, CLASSES))),
    "mlp": ("avg+max", Head("mlp", (dense(2 * CHANNELS, 5), dense(5, 6), dense(6, CLASSES)))),
    "se": ("none", Head("se", (dense(CHANNELS, CLASSES),), (dense(CHANNELS, 2), dense(2, CHANNELS)), "max")),
    "se flattened": (
        "none",
        Head("se", (dense(36, 5), dense(5, CLASSES)), (dense(CHANNELS, 2), dense(2, CHANNELS)), "none"),
    ),
}


def backbone(pooling):
    """A network of two convolutions, cut between them, whose second one is trained."""
    images = keras.Input((6, 6, 3))
    below = keras.layers.Conv2D(CHANNELS, 3, strides=2, padding="same", name="below")(images)
    frozen = keras.layers.BatchNormalization(name="frozen")(below)
    above = keras.layers.Conv2D(CHANNELS, 1, activation="relu", name="above")(frozen)
    network = keras.Model(images, above)
    network.set_weights([np.abs(random(*weight.shape)) for weight in network.get_weights()])
    return Backbone("simple_cnn", cut(network, "above"), pooling)


def maps(of_backbone, count=5):
    return np.abs(random(count, *of_backbone.cut.point.shape))


def features(of_backbone, some):
    top = of_backbone.cut.top
    pooled = keras.Model(top.input, pool_tensor(top.output, of_backbone.pooling))
    return np.asarray(pooled(some, training=False))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("attach", [lambda b, h: attach_head(b.cut.top, b.pooling, h), trainable_network])
def test_a_head_on_its_backbone_gives_the_logits_of_the_head_on_the_features(name, attach):
    pooling, head = HEADS[name]
    below = backbone(pooling)
    some = maps(below)
    np.testing.assert_allclose(attach(below, head)(some), head.logits(features(below, some)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_the_layers_from_the_first_trainable_one_on_and_all_of_the_head_are_trained(name):
    pooling, head = HEADS[name]
    model = trainable_network(backbone(pooling), head)
    trained = {layer.name for layer in model.layers if layer.trainable and layer.weights}
    names = {"above", *(f"head_dense_{number + 1}" for number in range(len(head.dense) - 1)), "head"}
    assert trained == names | ({"head_squeeze", "head_excite"} if head.block else set())


@pytest.mark.parametrize("name", HEADS)
def test_a_temperature_divides_the_logits(name):
    pooling, head = HEADS[name]
    below = backbone(pooling)
    some = maps(below)
    model = trainable_network(below, head)
    before = np.asarray(model(some))
    set_temperature(model, 4.0)
    np.testing.assert_allclose(model(some), before / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "mlp", "se flattened"])
def test_the_compiled_classifier_goes_from_an_image_to_the_heads_probabilities(name, tmp_path):
    pooling, head = HEADS[name]
    below = backbone(pooling)
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    upper = attach_head(below.cut.top, pooling, head)
    (tmp_path / "classifier.tflite").write_bytes(compile_classifier(below, upper))
    found = Network(tmp_path / "classifier.tflite")(image)[0]
    some = below.cut.trunk(image[np.newaxis] / np.float32(255))
    np.testing.assert_allclose(found, softmax(head.logits(features(below, some)))[0], atol=1e-5)


def test_the_bytes_do_not_depend_on_what_the_process_has_built_before():
    pooling, head = HEADS["linear on a map"]
    found = []
    for number in range(2):
        below = backbone(pooling)
        upper = trainable_network(below, head)
        found.append([compile_classifier(below, upper), compile_classifier(below, upper, lambda shares, _: shares * 2)])
        for _ in range(3 + number):
            image = keras.Input((2,))
            keras.Model(image, keras.layers.Flatten()(keras.layers.Dense(1)(image)))
    assert found[0] == found[1]


def test_classifiers_that_are_compiled_together_give_what_each_gives_alone():
    pooling, head = HEADS["mlp"]
    below = backbone(pooling)
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    # The first two share all layers.
    top = below.cut.top
    uppers = [attach_head(top, pooling, head), attach_head(top, pooling, head), trainable_network(below, head)]
    together = Network(compile_together(below, uppers)).all_outputs(image)
    for number, upper in enumerate(uppers):
        alone = Network(compile_classifier(below, upper, lambda _, features: features)).all_outputs(image)
        for found, expected in zip(together[2 * number : 2 * number + 2], alone, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "linear on a map", "mlp"])
def test_a_second_output_is_made_of_the_probabilities_and_of_the_features_averaged_over_their_places(name, tmp_path):
    pooling, head = HEADS[name]
    below = backbone(pooling)
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    some = below.cut.trunk(image[np.newaxis] / np.float32(255))
    expected = averaged(features(below, some))[0]
    for upper in (attach_head(below.cut.top, pooling, head), trainable_network(below, head)):
        network = compile_classifier(
            below, upper, lambda probabilities, found: keras.ops.concatenate([probabilities, found], 1)
        )
        (tmp_path / "classifier.tflite").write_bytes(network)
        first, second = Network(tmp_path / "classifier.tflite").all_outputs(image)
        np.testing.assert_allclose(first, softmax(head.logits(features(below, some)))[0], atol=1e-5)
        np.testing.assert_allclose(second, [*first, *expected], rtol=1e-4, atol=1e-5)
