"""What holds for every backbone of the table: its halves, their compiled form, and its weights file."""

import keras
import numpy as np
import pytest
from compiled_networks import pooled, relative_distance, run_compiled

from graft.backbone.build import build, preprocess
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut
from graft.settings import backbone_table

# These few stand for the rest in every run of the tests; the others are marked slow.
QUICK = ("EfficientNetLite0", "MobileNetV3Small", "simple_cnn")
# With random weights, activations of these grow from layer to layer, up to a thousand million, and the features depend
# on rounding: when inputs change by a millionth, Keras's own features change by a tenth.
CHAOTIC = ("EfficientNetB7", *(f"EfficientNetV2{size}" for size in ("B1", "B2", "B3", "S", "M", "L")))


@pytest.fixture(
    scope="module",
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in backbone_table.NAMES],
)
def backbone(request):
    """A backbone's name, the network with random weights at a small size, and pixels for it."""
    size = max(64, backbone_table.get(request.param).minimum_size)
    model = build(request.param, size, "none")
    pixels = np.random.default_rng(0).integers(0, 256, (33, size, size, 3), np.uint8)
    if request.param in CHAOTIC:
        set_statistics(model, preprocess(request.param, pixels[1:]))
    yield request.param, model, pixels[:1]
    keras.backend.clear_session()


def set_statistics(model, images):
    """Set the statistics of BatchNorms to those of some images, so that activations keep their size."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


@pytest.mark.parametrize("from_layer", [0, 0.3, 0.6, 0.9, 1.0, "an index"])
def test_the_top_of_the_trunk_is_the_whole_network_to_the_last_bit(backbone, from_layer):
    name, model, pixels = backbone
    scaled = preprocess(name, pixels)
    # In most networks that layer lies inside a block, and the layers from the cut to it stay frozen.
    found = cut(model, 5 * len(model.layers) // 9 if from_layer == "an index" else from_layer)
    halves = found.top(found.trunk(scaled, training=False), training=False)
    np.testing.assert_array_equal(halves, model(scaled, training=False))


def test_the_compiled_halves_of_any_backbone_agree_with_keras(backbone):
    name, model, pixels = backbone
    found = cut(model, 0.6)
    feature_map = run_compiled(compile_network(found.trunk, name), pixels)[0]
    features = run_compiled(compile_network(pooled(found.top)), feature_map)
    whole, scaled = pooled(model), preprocess(name, pixels)
    reference = whole(scaled, training=False)
    bound = 1e-5
    if name in CHAOTIC:
        # Even so, a change of a millionth in the inputs changes their features more than that.
        change = 1 + 1e-6 * np.random.default_rng(0).normal(size=scaled.shape).astype(np.float32)
        changed = relative_distance(whole(scaled * change, training=False), reference)
        assert changed < 1e-2
        bound = max(bound, changed)
    assert relative_distance(features[0], reference) < bound


def test_saved_weights_are_read_into_a_new_network(backbone, tmp_path):
    name, model, _ = backbone
    for weight in model.weights:
        weight.assign_add(np.ones(weight.shape, np.float32))
    path = tmp_path / "backbone.weights.h5"
    model.save_weights(path)
    again = build(name, model.input_shape[1], "none")
    again.load_weights(path)
    path.unlink()
    for weight, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
