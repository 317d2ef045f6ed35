"""Cutting a network where one tensor crosses, and compiling the halves."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from graft.backbone import build, cut
from graft.core.errors import GraftError

SIZE = 96
PIXELS = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


def run_compiled(flatbuffer, values):
    interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def relative_distance(values, reference):
    return np.linalg.norm(values - reference) / np.linalg.norm(reference)


def residual_network():
    """Two convolutions, then one around which the map is carried and added."""
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(images)
    x = carried = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="inner")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Add(name="add")([x, carried])
    return keras.Model(images, keras.layers.Conv2D(2, 1, name="last")(x), name="residual")


@pytest.mark.parametrize(
    ("from_layer", "index"),
    [("inner", 3), (3, 3), (0, 0), (7, 7), (-1, 6), (-7, 0), (0.0, 0), (0.5, 4), (1.0, 7), ("images", 0)],
)
def test_a_layer_is_given_by_name_index_or_fraction(from_layer, index):
    assert cut.resolve_layer(residual_network(), from_layer) == index


@pytest.mark.parametrize(
    ("from_layer", "message"),
    [
        ("iner", "fine_tune.from_layer: residual has no layer 'iner'; did you mean 'inner'"),
        ("zzzz", "fine_tune.from_layer: residual has no layer 'zzzz'; its layers are images to last"),
        (8, "fine_tune.from_layer: residual has no layer 8; its layers are 0 to 6"),
        (-8, "has no layer -8"),
        (1.5, "fine_tune.from_layer: 1.5 is no fraction"),
        (float("nan"), "fine_tune.from_layer: nan is no fraction"),
    ],
)
def test_a_layer_that_does_not_exist_is_answered_with_what_would_do(from_layer, message):
    with pytest.raises(GraftError, match=message):
        cut.resolve_layer(residual_network(), from_layer)


def test_the_places_where_one_tensor_crosses_leave_out_the_inside_of_a_residual_block():
    points = cut.cut_points(residual_network())
    assert [point.after for point in points] == ["images", "first", "relu", "add", "last"]
    assert [point.index for point in points] == [1, 2, 3, 6, 7]
    assert points[2].shape == (8, 8, 4)


@pytest.mark.parametrize(
    ("from_layer", "after", "frozen", "trainable"),
    [
        (0, "images", (), ("first", "relu", "inner", "norm", "add", "last")),
        ("first", "images", (), ("first", "relu", "inner", "norm", "add", "last")),
        ("inner", "relu", (), ("inner", "norm", "add", "last")),
        ("add", "relu", ("inner", "norm"), ("add", "last")),
        ("last", "add", (), ("last",)),
        (1.0, "last", (), ()),
    ],
)
def test_the_cut_is_the_last_place_at_or_before_the_layer(from_layer, after, frozen, trainable):
    found = cut.cut(residual_network(), from_layer)
    assert found.point.after == after
    assert found.frozen == frozen
    assert found.trainable == trainable


def test_the_index_of_the_first_trained_layer_gives_the_same_cut_where_a_fraction_may_not():
    # At 224 the narrowest place is after block 9; at 32, where the map is 2 by 2, another one may be.
    found = cut.cut(build.build("MobileNetV2", 224, "none"), 0.6)
    again = cut.cut(build.build("MobileNetV2", 32, "none"), found.first_trained)
    assert (again.point.index, again.point.after) == (found.point.index, found.point.after)
    assert (again.trainable, again.frozen) == (found.trainable, found.frozen)


@pytest.mark.parametrize("from_layer", [0, "first", "inner", "add", "last", 1.0])
def test_the_first_trained_layer_stands_for_the_layer_that_was_named(from_layer):
    found = cut.cut(residual_network(), from_layer)
    again = cut.cut(residual_network(), found.first_trained)
    assert (again.point, again.frozen, again.trainable) == (found.point, found.frozen, found.trainable)


@pytest.mark.parametrize(
    ("to_layer", "frozen", "trainable"),
    [
        ("add", ("add", "last"), ("inner", "norm")),
        (4, ("norm", "add", "last"), ("inner",)),
        (1.0, (), ("inner", "norm", "add", "last")),
    ],
)
def test_training_can_end_before_the_last_layer(to_layer, frozen, trainable):
    found = cut.cut(residual_network(), "inner", to_layer)
    assert (found.point.after, found.frozen, found.trainable) == ("relu", frozen, trainable)


@pytest.mark.parametrize(
    ("to_layer", "message"),
    [
        ("iner", "fine_tune.to_layer: residual has no layer 'iner'; did you mean 'inner'"),
        (
            "relu",
            "fine_tune.to_layer: relu is layer 2 of residual, not after from_layer, which is layer 3; give 4",
        ),
        (3, "fine_tune.to_layer: 3 is layer 3 of residual, not after"),
    ],
)
def test_training_ends_after_it_begins(to_layer, message):
    with pytest.raises(GraftError, match=message):
        cut.trained_layers(residual_network(), "inner", to_layer)


def test_a_cut_at_either_end_leaves_the_identity():
    model = residual_network()
    images = np.ones((2, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(cut.cut(model, 0).trunk(images), images)
    last = np.ones((2, 8, 8, 2), np.float32)
    np.testing.assert_array_equal(cut.cut(model, 1.0).top(last), last)


def test_a_fraction_is_cut_at_the_narrowest_map_down_to_that_depth_and_all_above_is_trained():
    model = build.build("MobileNetV2", SIZE, "none")
    parted = cut.cut(model, 0.6)  # layer 92, within block 10, where the map has six times the channels
    assert parted.point.after == "block_9_add"
    assert parted.frozen == ()
    assert parted.trainable[0] == "block_10_expand"


def test_a_fraction_is_not_cut_at_the_image_even_if_no_map_is_narrower():
    x = images = keras.Input((8, 8, 1))
    for filters in (4, 3, 3, 3, 4):
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    parted = cut.cut(keras.Model(images, x), 0.99)
    assert (parted.point.index, parted.point.shape) == (5, (8, 8, 3))


def test_the_halves_share_the_weights_of_the_whole():
    model = residual_network()
    top = cut.cut(model, "inner").top
    top.get_layer("last").set_weights([np.zeros((1, 1, 4, 2)), np.array([3.0, 4.0])])
    assert np.asarray(model(np.ones((1, 8, 8, 3))))[0, 0, 0].tolist() == [3, 4]


def test_from_layer_100_of_mobilenet_v2_is_cut_before_layer_98():
    found = cut.cut(build.build("MobileNetV2", 224, "none"), 100)
    assert (found.point.index, found.point.shape) == (98, (14, 14, 96))
    assert found.frozen == ("block_11_expand", "block_11_expand_BN")
    assert found.trainable[0] == "block_11_expand_relu"


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", [2.5, 25]),
        ("max", [4, 40]),
        ("avg+max", [2.5, 25, 4, 40]),
        ("none", [[[1, 10], [2, 20]], [[3, 30], [4, 40]]]),
    ],
)
def test_pooling_a_map(pooling, expected):
    images = keras.Input((2, 2, 2))
    model = cut.pool(keras.Model(images, keras.layers.Activation("linear")(images)), pooling)
    feature_map = np.array([[[[1, 10], [2, 20]], [[3, 30], [4, 40]]]], np.float32)
    assert np.asarray(model(feature_map)).tolist() == [expected]


def test_the_compiled_halves_agree_with_keras_on_the_same_pixels():
    model = build.build("EfficientNetLite0", SIZE, "imagenet")
    found = cut.cut(model, 0.7)
    crossing = run_compiled(cut.compile_network(found.trunk, "EfficientNetLite0"), PIXELS)[0]
    features = run_compiled(cut.compile_network(cut.pool(found.top, "avg")), crossing)[0]
    scaled = build.preprocess("EfficientNetLite0", PIXELS)
    assert relative_distance(crossing, found.trunk(scaled, training=False)) < 1e-5
    assert relative_distance(features, cut.pool(model, "avg")(scaled, training=False)) < 1e-5


def test_a_compiled_network_can_give_the_map_at_the_cut_and_the_features_in_one_pass():
    model = build.build("MobileNetV2_035", SIZE, "none")
    found = cut.cut(model, 100)
    crossing = model.get_layer(found.point.after).output
    both = keras.Model(model.input, [crossing, cut.pool(model, "avg").output])
    outputs = run_compiled(cut.compile_network(both, "MobileNetV2_035"), PIXELS)
    scaled = build.preprocess("MobileNetV2_035", PIXELS)
    assert [output.shape for output in outputs] == [(1, 6, 6, 32), (1, 1280)]
    assert relative_distance(outputs[0], found.trunk(scaled, training=False)) < 1e-5
    assert relative_distance(outputs[1], cut.pool(model, "avg")(scaled, training=False)) < 1e-5


def test_a_cut_at_either_end_can_be_compiled():
    model = build.build("simple_cnn", 32, "none")
    pixels = PIXELS[:, :32, :32]
    scaled = run_compiled(cut.compile_network(cut.cut(model, 0).trunk, "simple_cnn"), pixels)[0]
    np.testing.assert_allclose(scaled, pixels / np.float32(255), rtol=1e-6)
    feature_map = np.arange(128, dtype=np.float32).reshape(1, 2, 2, 32)
    pooled = cut.pool(cut.cut(model, 1.0).top, "max")
    np.testing.assert_array_equal(run_compiled(cut.compile_network(pooled), feature_map)[0], feature_map[:, 1, 1])


COMPILE = """
import hashlib, sys
from stages.parts import backbones, trunk
for name in sys.argv[1:]:
    found = trunk.cut(backbones.build(name, 96, "none"), 0.5)
    lower = trunk.compile_network(found.trunk, name)
    upper = trunk.compile_network(trunk.pool(found.top, "avg"))
digest = hashlib.sha256(lower + upper).hexdigest()
print(digest)
"""


def test_compiled_bytes_are_the_same_in_every_process_whatever_was_built_before():
    digests = [
        subprocess.check_output([sys.executable, "-c", COMPILE, *names], text=True).split()[-1]
        for names in (["MobileNetV2_035"], ["simple_cnn", "MobileNetV2_035"])
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == len(hashlib.sha256().hexdigest())


def test_a_compiled_network_holds_no_path_of_this_machine():
    flatbuffer = cut.compile_network(build.build("simple_cnn", 32, "none"), "simple_cnn")
    assert b"/tmp" not in flatbuffer
    assert str(build.__file__).rsplit("/", 3)[0].encode() not in flatbuffer


# These few stand for the rest in every run of the tests; the others are marked slow.
QUICK = ("EfficientNetLite0", "MobileNetV2_035", "MobileNetV3Small", "simple_cnn")
# Drawn at random, values in these grow from layer to layer, up to a thousand million, and rounding decides what comes
# out: a nudge of a millionth moves Keras's own features by a tenth.
CHAOTIC = ("EfficientNetB7", *(f"EfficientNetV2{size}" for size in ("B1", "B2", "B3", "S", "M", "L")))


@pytest.fixture(
    scope="module",
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in build.NAMES],
)
def backbone(request):
    """A backbone's name, the network with random weights at a small size, and pixels for it."""
    size = max(64, build.get(request.param).minimum_size)
    model = build.build(request.param, size, "none")
    pixels = np.random.default_rng(0).integers(0, 256, (33, size, size, 3), np.uint8)
    if request.param in CHAOTIC:
        settle(model, build.preprocess(request.param, pixels[1:]))
    yield request.param, model, pixels[:1]
    keras.backend.clear_session()


def settle(model, images):
    """Give BatchNorms the statistics of some images, as a trained network's have: values then keep their size."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


@pytest.mark.parametrize("from_layer", [0, 0.3, 0.6, 0.9, 1.0, "an index"])
def test_top_of_trunk_is_the_whole_network_to_the_last_bit(backbone, from_layer):
    name, model, pixels = backbone
    scaled = build.preprocess(name, pixels)
    # In most networks that layer lies inside a block, and the layers from the cut to it stay frozen.
    found = cut.cut(model, 5 * len(model.layers) // 9 if from_layer == "an index" else from_layer)
    halves = found.top(found.trunk(scaled, training=False), training=False)
    np.testing.assert_array_equal(halves, model(scaled, training=False))


def test_the_compiled_halves_of_any_backbone_agree_with_keras(backbone):
    name, model, pixels = backbone
    found = cut.cut(model, 0.6)
    pooled = cut.pool(found.top, "avg")
    features = run_compiled(
        cut.compile_network(pooled), run_compiled(cut.compile_network(found.trunk, name), pixels)[0]
    )
    whole, scaled = cut.pool(model, "avg"), build.preprocess(name, pixels)
    reference = whole(scaled, training=False)
    bound = 1e-5
    if name in CHAOTIC:
        # Settled too, these carry even a nudge of a millionth further than that.
        nudge = 1 + 1e-6 * np.random.default_rng(0).normal(size=scaled.shape).astype(np.float32)
        moved = relative_distance(whole(scaled * nudge, training=False), reference)
        assert moved < 1e-2
        bound = max(bound, moved)
    assert relative_distance(features[0], reference) < bound


def test_saved_weights_come_back_into_a_network_built_anew(backbone, tmp_path):
    name, model, _ = backbone
    for weight in model.weights:
        weight.assign_add(np.ones(weight.shape, np.float32))
    path = tmp_path / "backbone.weights.h5"
    model.save_weights(path)
    again = build.build(name, model.input_shape[1], "none")
    again.load_weights(path)
    path.unlink()
    for weight, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
