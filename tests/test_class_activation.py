"""Class activation maps of a compiled classifier: which places of a crop speak for a class."""

import hub_presets
import keras
import numpy as np
import pytest
import tensorflow as tf

from graft.backbone import hub
from graft.backbone.compile import compile_network
from graft.core.errors import GraftError
from graft.serving.class_activation import open_network
from graft.settings.pooling import pool_tensor

SIZE, CHANNELS, CLASSES = 16, 4, 3


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def network(pooling="avg", widths=()):
    """A convolution to maps (8, 8, 4), a pooling, hidden layers of these widths, and a dense layer with softmax."""
    pictures = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(CHANNELS, 3, strides=2, padding="same", activation="relu", name="maps")(pictures)
    features = keras.layers.Flatten()(pool_tensor(maps, pooling))
    for width in widths:
        features = keras.layers.Dense(width, "relu")(features)
    model = keras.Model(pictures, keras.layers.Dense(CLASSES, "softmax", name="head")(features))
    model.set_weights([random(*weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture
def compiled_file(tmp_path):
    """Return a function that compiles a network and returns the path of the file."""

    def write(model):
        path = tmp_path / "classifier.tflite"
        path.write_bytes(compile_network(model, lambda images: images / 255))
        return path

    return write


def expected_evidence(model, crop):
    """Return float array (8, 8, classes): the share of each place in each logit, less the mean of the classes."""
    maps = keras.Model(model.input, model.get_layer("maps").output)(crop[np.newaxis] / np.float32(255))[0]
    kernel = model.get_layer("head").get_weights()[0]
    return np.asarray(maps) @ (kernel - kernel.mean(axis=1, keepdims=True))


def test_the_map_is_the_last_feature_map_times_the_weights_of_the_class(compiled_file):
    model, crop = network(), image()
    found = open_network(compiled_file(model)).maps(crop, [2, 0])
    assert (found.shape, found.dtype) == ((2, SIZE, SIZE), np.float32)
    for shown, label in zip(found, (2, 0), strict=True):
        evidence = expected_evidence(model, crop)[:, :, label]
        shares = (evidence - evidence.min()) / (evidence.max() - evidence.min())
        # Bilinear at twice the size: the mean of 2 x 2 pixels is near the place they come from.
        means = shown.reshape(8, 2, 8, 2).mean(axis=(1, 3))
        assert np.corrcoef(means.ravel(), shares.ravel())[0, 1] > 0.95
        assert abs(means - shares).mean() < 0.1


def test_where_the_map_has_the_crop_s_size_it_is_exact(compiled):
    """The network of the tests takes the colours themselves as its map; class 0 is blue, 2 is red."""
    crop = image()
    evidence = crop[:, :, 0] / 255 - crop.mean(axis=2) / 255
    expected = (evidence - evidence.min()) / (evidence.max() - evidence.min())
    np.testing.assert_allclose(open_network(compiled.classifier).maps(crop, [2])[0], expected, atol=1e-5)


def test_the_brightest_place_is_where_the_class_is(compiled):
    crop = np.full((SIZE, SIZE, 3), 40, np.uint8)
    crop[2:6, 9:13] = 220, 30, 30
    crop[10:14, 1:5] = 30, 30, 220
    blue, red = open_network(compiled.classifier).maps(crop, [0, 2])
    assert red[2:6, 9:13].min() == 1
    assert blue[10:14, 1:5].min() == 1
    assert blue[2:6, 9:13].max() == red[10:14, 1:5].max() == 0


def test_a_crop_that_is_the_same_everywhere_has_a_map_of_zeros(compiled):
    assert not open_network(compiled.classifier).maps(np.full((SIZE, SIZE, 3), 99, np.uint8), [1]).any()


@pytest.mark.parametrize(("pooling", "widths"), [("max", ()), ("avg+max", ()), ("none", ()), ("avg", (5,))], ids=str)
def test_other_poolings_flattened_maps_and_hidden_layers_have_no_map(compiled_file, pooling, widths):
    assert open_network(compiled_file(network(pooling, widths))) is None


def transformer(folder, kind, pooling):
    """A preset of KerasHub with 4 x 4 patches of 8 pixels: its tokens, a pooling, and a dense layer with softmax."""
    loaded = hub.load(f"hub/{hub_presets.write_preset(folder / 'a.preset', kind)}")
    tokens = hub.network(loaded, 32, "imagenet")
    dense = keras.layers.Dense(CLASSES, "softmax")
    features = keras.layers.Flatten()(pool_tensor(tokens.output, pooling))
    model = keras.Model(tokens.input, dense(features))
    dense.set_weights([random(*weight.shape) for weight in dense.get_weights()])
    return tokens, dense.get_weights()[0], model, loaded.preset.scaling


@pytest.mark.parametrize("kind", ["vit", "dinov2_registers"])
def test_the_places_of_a_transformer_are_its_patches(tmp_path, kind):
    tokens, kernel, model, scaling = transformer(tmp_path, kind, "avg")
    (tmp_path / "a.tflite").write_bytes(compile_network(model, scaling))
    crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (found,) = open_network(tmp_path / "a.tflite").maps(crop, [1])
    # Behind the class token.
    patches = np.asarray(tokens(scaling(crop[np.newaxis].astype(np.float32)), training=False))[0, 1:].reshape(4, 4, -1)
    evidence = patches @ (kernel - kernel.mean(axis=1, keepdims=True))[:, 1]
    shares = (evidence - evidence.min()) / (evidence.max() - evidence.min())
    # The middle of a patch is between four pixels of the map.
    middles = found.reshape(4, 8, 4, 8)[:, 3:5, :, 3:5].mean(axis=(1, 3))
    np.testing.assert_allclose(middles, shares, atol=0.15)
    assert np.corrcoef(middles.ravel(), shares.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("pooling", ["cls", "cls+avg", "max", "none"])
def test_a_transformer_with_another_pooling_has_no_map(tmp_path, pooling):
    *_, model, scaling = transformer(tmp_path, "vit", pooling)
    (tmp_path / "a.tflite").write_bytes(compile_network(model, scaling))
    assert open_network(tmp_path / "a.tflite") is None


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_quantised_file_has_nearly_the_same_map(tmp_path, kind):
    model = network()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pictures = [image(seed)[np.newaxis].astype(np.float32) for seed in range(8)]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    else:
        converter.representative_dataset = lambda: ([picture] for picture in pictures)
    (tmp_path / "quantised.tflite").write_bytes(converter.convert())
    (tmp_path / "exact.tflite").write_bytes(compile_network(model))
    quantised, exact = (
        open_network(tmp_path / f"{name}.tflite").maps(pictures[0][0], [1]) for name in ("quantised", "exact")
    )
    assert 0 < abs(quantised - exact).max() < 0.1


def test_the_bytes_of_a_map_are_the_same_each_time(compiled_file):
    path = compiled_file(network())
    first, second = (open_network(path).maps(image(), range(CLASSES)).tobytes() for _ in range(2))
    assert first == second


def test_nothing_is_printed(compiled, run_python):
    script = (
        "import sys, pathlib, numpy; from graft.serving.class_activation import open_network; "
        "open_network(pathlib.Path(sys.argv[1])).maps(numpy.zeros((16, 16, 3), 'uint8'), [0])"
    )
    done = run_python("-c", script, compiled.classifier)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_or_broken_file_is_one_line(tmp_path):
    path = tmp_path / "a.tflite"
    with pytest.raises(GraftError, match=r"a\.tflite: no such file; `dvc repro` writes it$"):
        open_network(path)
    path.write_bytes(b"nothing" * 99)
    with pytest.raises(GraftError, match=r"a\.tflite: not a compiled network; `dvc repro` writes it anew$"):
        open_network(path)


def test_tensorflow_is_not_imported(run_python):
    script = "import sys, graft.serving.class_activation; sys.exit('tensorflow' in sys.modules)"
    assert run_python("-c", script).returncode == 0
