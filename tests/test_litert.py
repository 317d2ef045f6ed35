"""Compiled networks: an image in, arrays out, the same in every thread, without TensorFlow."""

import keras
import numpy as np
import pytest

from graft.activations import litert
from graft.activations.litert import Network
from graft.backbone.compile import compile_network
from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.core.threads import in_order, usable_cpus


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)


def test_a_network_gives_what_its_formula_says(compiled, images):
    logits = 8 * images[0].mean(axis=(0, 1))[::-1] / 255
    expected = np.exp(logits) / np.exp(logits).sum()
    (probabilities,) = Network(compiled.classifier)(images[0])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_the_output_of_each_network_of_a_chain_is_the_input_of_the_next(compiled, images):
    feature_map, features = Network(compiled.trunk, compiled.top)(images[0])
    assert feature_map.shape == (8, 8, 4)
    assert feature_map.any()
    np.testing.assert_allclose(features, feature_map.mean(axis=(0, 1)), rtol=1e-5)


def test_all_outputs_of_a_network_are_given_in_its_order(tmp_path, images):
    image = keras.Input((16, 16, 3))
    means = keras.ops.mean(image, axis=(1, 2))
    model = keras.Model(image, [means, keras.ops.max(means, axis=-1, keepdims=True)])
    (tmp_path / "two.tflite").write_bytes(compile_network(model, lambda images: images / 255))
    network = Network(tmp_path / "two.tflite")
    first, second = network.all_outputs(images[0])
    np.testing.assert_allclose(first, images[0].mean(axis=(0, 1)) / 255, rtol=1e-5)
    np.testing.assert_array_equal(second, [first.max()])
    np.testing.assert_array_equal(network(images[0])[-1], first)


def test_it_knows_its_input_shape_and_the_hashes_of_its_files(compiled):
    network = Network(compiled.trunk, compiled.top)
    assert network.input_shape == (16, 16, 3)
    assert network.sha256 == [sha256_of(compiled.trunk), sha256_of(compiled.top)]


def test_results_are_kept_when_the_network_runs_again(compiled, images):
    network = Network(compiled.trunk)
    (first,) = network(images[0])
    copy = first.copy()
    network(images[1])
    np.testing.assert_array_equal(first, copy)


def test_every_thread_gives_the_same_bits(compiled, images):
    network = Network(compiled.trunk, compiled.top)
    alone = [network(image)[1].tobytes() for image in images]
    assert [outputs[1].tobytes() for outputs in in_order(network, images)] == alone


def test_interpreters_are_used_again_by_other_threads(compiled, images, monkeypatch):
    made, interpreter = [], litert._interpreter
    monkeypatch.setattr(litert, "_interpreter", lambda model: made.append(model) or interpreter(model))
    network = Network(compiled.trunk)
    for _ in range(5):
        list(in_order(network, images))
    assert 1 <= len(made) <= usable_cpus()


def test_the_image_is_left_as_it_is(compiled, images):
    before = images.copy()
    Network(compiled.trunk)(images[0])
    np.testing.assert_array_equal(images, before)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(GraftError, match=r"none\.tflite: no such file; `dvc repro` writes it$"):
        Network(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"no network", b"\0" * 1000])
def test_a_file_that_is_no_network_is_one_line(tmp_path, content):
    (tmp_path / "a.tflite").write_bytes(content)
    with pytest.raises(GraftError, match=r"a\.tflite: not a compiled network; `dvc repro` writes it anew$"):
        Network(tmp_path / "a.tflite")


def test_tensorflow_is_never_imported(compiled, run_python):
    script = (
        "import sys; from pathlib import Path; from graft.activations.litert import Network;"
        f"Network(Path({str(compiled.trunk)!r})); sys.exit('tensorflow' in sys.modules)"
    )
    assert run_python("-c", script).returncode == 0
