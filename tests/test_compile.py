"""Compiled networks: the outputs are those of Keras, and the bytes the same each time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from compiled_networks import pooled, relative_distance, run_compiled

from graft.backbone.build import build, preprocess
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut
from graft.settings.pooling import pool_tensor

ROOT = Path(__file__).resolve().parents[1]
SIZE = 96
PIXELS = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


def test_the_compiled_halves_agree_with_keras_on_the_same_pixels():
    model = build("EfficientNetLite0", SIZE, "imagenet")
    found = cut(model, 0.7)
    crossing = run_compiled(compile_network(found.trunk, "EfficientNetLite0"), PIXELS)[0]
    features = run_compiled(compile_network(pooled(found.top)), crossing)[0]
    scaled = preprocess("EfficientNetLite0", PIXELS)
    assert relative_distance(crossing, found.trunk(scaled, training=False)) < 1e-5
    assert relative_distance(features, pooled(model)(scaled, training=False)) < 1e-5


def test_a_compiled_network_can_give_the_map_at_the_cut_and_the_features_in_one_pass():
    model = build("MobileNetV2_035", SIZE, "none")
    found = cut(model, 100)
    crossing = model.get_layer(found.point.after).output
    both = keras.Model(model.input, [crossing, pooled(model).output])
    outputs = run_compiled(compile_network(both, "MobileNetV2_035"), PIXELS)
    scaled = preprocess("MobileNetV2_035", PIXELS)
    assert [output.shape for output in outputs] == [(1, 6, 6, 32), (1, 1280)]
    assert relative_distance(outputs[0], found.trunk(scaled, training=False)) < 1e-5
    assert relative_distance(outputs[1], pooled(model)(scaled, training=False)) < 1e-5


def test_a_cut_at_either_end_can_be_compiled():
    model = build("simple_cnn", 32, "none")
    pixels = PIXELS[:, :32, :32]
    scaled = run_compiled(compile_network(cut(model, 0).trunk, "simple_cnn"), pixels)[0]
    np.testing.assert_allclose(scaled, pixels / np.float32(255), rtol=1e-6)
    feature_map = np.arange(128, dtype=np.float32).reshape(1, 2, 2, 32)
    top = compile_network(pooled(cut(model, 1.0).top, "max"))
    np.testing.assert_array_equal(run_compiled(top, feature_map)[0], feature_map[:, 1, 1])


def digest(name):
    """Return the SHA-256 of a network's compiled halves, in hexadecimal."""
    found = cut(build(name, SIZE, "none"), 0.5)
    top = keras.Model(found.top.input, pool_tensor(found.top.output, "avg"), name=found.top.name)
    return hashlib.sha256(compile_network(found.trunk, name) + compile_network(top)).hexdigest()


def test_compiled_bytes_are_the_same_in_every_process_whatever_was_built_before():
    digest("simple_cnn")
    command = [sys.executable, __file__, "MobileNetV2_035"]
    printed = subprocess.check_output(command, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert digest("MobileNetV2_035") == printed.split()[-1]


def test_a_compiled_network_holds_no_path_of_this_machine():
    flatbuffer = compile_network(build("simple_cnn", 32, "none"), "simple_cnn")
    assert b"/tmp" not in flatbuffer
    assert str(ROOT).encode() not in flatbuffer


if __name__ == "__main__":
    print(digest(sys.argv[1]))
