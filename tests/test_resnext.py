"""ResNeXt: grouped convolutions as Xie et al. define them, and the published files of keras-applications."""

import re

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from compiled_networks import pooled, relative_distance, run_compiled

from graft.backbone import resnext
from graft.backbone.architectures import family_of
from graft.backbone.build import build, imagenet_classifier, preprocess
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut, cut_points
from graft.backbone.fold_batch_norm import fold_batch_norms
from graft.backbone.weights import load_weights
from graft.core.errors import GraftError
from graft.settings import backbone_table
from graft.training.fast_gradients import with_fast_gradients

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
EPSILON = 1.001e-5


def published_layout(blocks, include_top):
    """The arrays of a published file, by layer and by weight, with random values: the layout is written out here."""
    draw = np.random.default_rng(0)
    layers = {}

    def convolution(name, kernel, filters, norm, weight="kernel"):
        layers[f"{name}_conv"] = {weight: draw.normal(0, 0.05, kernel).astype(np.float32)}
        layers[norm] = {part: draw.uniform(0.5, 1.5, filters).astype(np.float32) for part in BATCH_NORM}

    convolution("conv1", (7, 7, 3, 64), 64, "conv1_bn")
    channels = 64
    for stage, (filters, count) in enumerate(zip((128, 256, 512, 1024), blocks, strict=True), start=2):
        for number in range(1, count + 1):
            name = f"conv{stage}_block{number}"
            if number == 1:
                convolution(f"{name}_0", (1, 1, channels, 2 * filters), 2 * filters, f"{name}_0_bn")
            convolution(f"{name}_1", (1, 1, channels, filters), filters, f"{name}_1_bn")
            kernel = (3, 3, filters, filters // 32)
            convolution(f"{name}_2", kernel, filters, f"{name}_2_bn", "depthwise_kernel")
            convolution(f"{name}_3", (1, 1, filters, 2 * filters), 2 * filters, f"{name}_3_bn")
            channels = 2 * filters
    if include_top:
        layers["probs"] = {"kernel": draw.normal(0, 0.05, (2048, 1000)), "bias": draw.normal(0, 0.05, 1000)}
    return layers


def write(path, layers, without_weights=("input_1", "conv1_pad", "conv1_relu")):
    """Write a file as Keras 2 did: a group for each layer, its weights in a group of its name."""
    with h5py.File(path, "w") as file:
        file.attrs.update(
            layer_names=np.array([*without_weights, *layers], "S"), backend=b"tensorflow", keras_version=b"2.2.4"
        )
        for name in without_weights:
            file.create_group(name).attrs["weight_names"] = np.array([], "S")
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{weight}:0" for weight in weights], "S")
            for weight, values in weights.items():
                group[f"{layer}/{weight}:0"] = values
    return str(path)


@pytest.fixture(scope="module")
def layers():
    return published_layout((3, 4, 6, 3), include_top=False)


@pytest.fixture(scope="module")
def file(layers, tmp_path_factory):
    return write(tmp_path_factory.mktemp("published") / "resnext50_notop.h5", layers)


@pytest.fixture(scope="module")
def network(file):
    return build("ResNeXt50", 64, file)


@pytest.fixture(scope="module")
def other():
    """A second network, for files with other weights."""
    return build("ResNeXt50", 32, "none")


def scaled_images(count=2, size=64):
    pixels = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
    return pixels, preprocess("ResNeXt50", pixels)


def assert_has(model, layers):
    for layer, weights in layers.items():
        for value, expected in zip(model.get_layer(layer).get_weights(), weights.values(), strict=True):
            np.testing.assert_array_equal(value, np.asarray(expected, np.float32))


def test_every_weight_of_a_file_in_the_published_layout_has_its_place(network, layers):
    assert_has(network, layers)
    assert {layer.name for layer in network.layers if layer.weights} == set(layers)


def test_the_order_of_the_layers_in_the_file_does_not_matter(other, layers, tmp_path):
    load_weights(other, write(tmp_path / "own.h5", dict(sorted(layers.items(), reverse=True))))
    assert_has(other, layers)


def test_constant_sums_that_a_release_saved_beside_the_weights_are_left_out(other, layers, tmp_path):
    constant = {"conv2_block1_2_gconv": {"kernel": np.zeros((1, 1, 512, 128), np.float32)}}
    load_weights(other, write(tmp_path / "own.h5", layers | constant))
    assert_has(other, layers)


@pytest.mark.slow
def test_the_published_file_with_top_gives_the_thousand_classes(tmp_path):
    layers = published_layout((3, 4, 6, 3), include_top=True)
    model = imagenet_classifier("ResNeXt50", write(tmp_path / "own.h5", layers))
    assert_has(model, layers)
    assert model.output_shape == (None, 1000)
    np.testing.assert_allclose(np.sum(model(scaled_images(1, 224)[1])), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "include_top"), [((3, 4, 23, 3), False), ((3, 4, 6, 3), True)], ids=["ResNeXt101", "with top"]
)
def test_the_file_of_another_network_is_refused(other, blocks, include_top, tmp_path):
    path = write(tmp_path / "own.h5", published_layout(blocks, include_top))
    with pytest.raises(GraftError, match=rf"^weights: {path} does not hold the weights of ResNeXt50 without top \("):
        load_weights(other, path)


def normalised(x, norm):
    gamma, beta, mean, variance = norm.values()
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def grouped_convolution(x, kernel, stride):
    """A 3 x 3 convolution in 32 groups by its definition; x (height, width, channels), in the kernel's layout."""
    channels, multiplier = kernel.shape[2:]
    in_group = channels // 32
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    rows, columns = ((side - 1) // stride + 1 for side in x.shape[:2])
    outputs = np.zeros((rows, columns, 32 * multiplier))
    for group in range(32):
        inputs = range(group * in_group, (group + 1) * in_group)
        for output in range(multiplier):
            for channel in inputs:
                for y, x_ in np.ndindex(rows, columns):
                    window = padded[y * stride : y * stride + 3, x_ * stride : x_ * stride + 3, channel]
                    outputs[y, x_, group * multiplier + output] += (window * kernel[:, :, channel, output]).sum()
    return outputs


@pytest.mark.parametrize(("block", "stride"), [("conv2_block2", 1), ("conv3_block1", 2)])
def test_a_block_is_a_grouped_convolution_between_two_others_beside_a_shortcut(network, layers, block, stride):
    before = network.get_layer(f"{block}_1_conv").input
    maps = keras.Model(network.input, [before, network.get_layer(f"{block}_out").output])
    x, found = (np.asarray(values)[0, :].astype(float) for values in maps(scaled_images(1)[1], training=False))
    kernel = {name: next(iter(layers[f"{block}_{name}_conv"].values())).astype(float) for name in "123"}
    norm = {name: layers[f"{block}_{name}_bn"] for name in "123"}
    inner = np.maximum(normalised(x @ kernel["1"][0, 0], norm["1"]), 0)
    inner = np.maximum(normalised(grouped_convolution(inner, kernel["2"], stride), norm["2"]), 0)
    shortcut = x
    if stride == 2:
        shortcut = x[::2, ::2] @ layers[f"{block}_0_conv"]["kernel"][0, 0]
        shortcut = normalised(shortcut, layers[f"{block}_0_bn"])
    expected = np.maximum(normalised(inner @ kernel["3"][0, 0], norm["3"]) + shortcut, 0)
    assert relative_distance(found, expected) < 1e-5


def test_a_cut_lies_between_any_two_blocks(network):
    after = {point.after for point in cut_points(network)}
    blocks = {f"conv{stage}_block{n}_out" for stage, count in zip("2345", (3, 4, 6, 3), strict=True)
              for n in range(1, count + 1)}  # fmt: skip
    assert blocks <= after
    assert not any(re.match(r"conv\d_block\d_[123]", name) for name in after)


# test_every_backbone.py has smaller networks in every run of the tests.
@pytest.mark.slow
def test_the_compiled_halves_agree_with_keras(network):
    pixels, scaled = scaled_images(1)
    halves = cut(network, 0.6)
    maps = run_compiled(compile_network(halves.trunk, "ResNeXt50"), pixels)[0]
    features = run_compiled(compile_network(pooled(halves.top)), maps)[0]
    assert relative_distance(features, pooled(network)(scaled, training=False)) < 1e-5


def test_folding_leaves_the_batch_norm_of_the_sums_and_the_function(network):
    folded = fold_batch_norms(network)
    left = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert left
    assert all(name.endswith("_2_bn") for name in left)
    scaled = scaled_images()[1]
    assert relative_distance(folded(scaled, training=False), network(scaled, training=False)) < 1e-5


def test_a_step_of_fine_tuning_has_the_gradients_of_keras(network):
    top = pooled(fold_batch_norms(cut(network, 0.9).top))
    fast = with_fast_gradients(top)
    maps = tf.constant(np.random.default_rng(2).normal(size=(2, *top.input_shape[1:])).astype(np.float32))
    found, expected = (gradients(model, maps) for model in (fast, top))
    assert any("_2_conv" in weight.path for weight in fast.trainable_variables)
    for value, reference in zip(found, expected, strict=True):
        assert relative_distance(value, reference) < 1e-4


def gradients(model, maps):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(model(maps, training=False)))
    return [np.asarray(gradient) for gradient in tape.gradient(loss, model.trainable_variables)]


def test_images_are_scaled_as_in_pytorch():
    scaled = np.asarray(preprocess("ResNeXt50", np.array([[[[0, 128, 255]]]], np.uint8)))
    expected = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(scaled[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "include_top", "file_name"),
    [
        ("ResNeXt50", True, "resnext50_weights_tf_dim_ordering_tf_kernels.h5"),
        ("ResNeXt101", False, "resnext101_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    ],
)
def test_published_weights_are_asked_for_by_their_name_and_md5(name, include_top, file_name, monkeypatch):
    asked = {}

    def get_file(file, origin, **options):
        asked.update(options, file=file, origin=origin)
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    record = backbone_table.get(name)
    with pytest.raises(GraftError, match=rf"^backbone: the weights of {name} could not be fetched [^\n]*{file_name}"):
        family_of(record).classifier(record) if include_top else build(name, 32, "imagenet")
    assert asked["file"] == file_name
    assert asked["origin"].endswith(f"/{file_name}")
    assert asked["file_hash"] == resnext.MD5[name][0 if include_top else 1]


def test_a_published_file_is_read_from_kerass_folder(monkeypatch, file, layers):
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: file)
    assert_has(build("ResNeXt50", 32, "imagenet"), layers)


@pytest.mark.parametrize(("name", "million"), [("ResNeXt50", 23.0), ("ResNeXt101", 42.3)])
def test_there_are_as_many_parameters_as_keras_applications_stated(name, million):
    record = backbone_table.get(name)
    assert family_of(record).build(record, 32).count_params() / 1e6 == pytest.approx(million, abs=0.05)
