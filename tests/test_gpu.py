"""What differs when a GPU trains. No GPU is needed: its forms run on a CPU too, and its faults are simulated."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from neutral_settings import fine_tune_settings
from test_fast_gradients import outputs_and_gradients
from test_training_loop import ENVIRONMENT, digest, examples, network, train

from graft.core.errors import GraftError
from graft.training import fast_gradients, gpu, loop
from graft.training.gpu import copy_for_gpu, faults, prepare, require_deterministic, training_copy

CARD = "A card"


@pytest.fixture
def card(monkeypatch):
    """Let training find a GPU; the CPU computes."""
    monkeypatch.setattr(gpu, "gpu_names", lambda: [CARD])


def with_depthwise(height=9, width=5, kernel_size=5, strides=2, **options):
    maps = keras.Input((height, width, 6))
    options = {"padding": "same"} | options
    x = keras.layers.DepthwiseConv2D(kernel_size, strides, name="depthwise", activation="relu6", **options)(maps)
    model = keras.Model(maps, keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling2D()(x)))
    draw = np.random.default_rng(0)
    model.set_weights([draw.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def maps_of(model, count=3):
    values = np.random.default_rng(1).normal(size=(count, *model.input_shape[1:]))
    return tf.constant(values.astype(np.float32))


def distance(found, expected):
    return np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)


def test_without_a_gpu_training_has_the_forms_that_are_fast_on_a_cpu():
    kinds = {type(layer) for layer in training_copy(network(), fine_tune_settings()).layers}
    assert kinds & {kind for _, kind in fast_gradients.FORMS}


def test_with_a_gpu_training_has_layers_of_keras_alone(card):
    kinds = {type(layer) for layer in training_copy(network(), fine_tune_settings()).layers}
    assert not kinds & {kind for _, kind in fast_gradients.FORMS}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_mixed_precision_all_layers_but_the_head_compute_in_it_and_weights_stay_float32(precision):
    model = network()
    twin, maps = copy_for_gpu(model, precision, False), maps_of(model)
    assert {layer.compute_dtype for layer in twin.layers[1:-1]} == {precision}
    assert twin.layers[-1].compute_dtype == "float32"
    assert {weight.dtype for weight in twin.weights} == {"float32"}
    for found, expected in zip(outputs_and_gradients(twin, maps), outputs_and_gradients(model, maps), strict=True):
        assert found.dtype == tf.float32
        assert 1e-6 < distance(found, expected) < 0.1


def test_in_float32_outputs_and_gradients_are_those_of_the_network():
    model = network()
    twin, maps = copy_for_gpu(model, "float32", False), maps_of(model)
    for found, expected in zip(outputs_and_gradients(twin, maps), outputs_and_gradients(model, maps), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_training_in_float16_scales_the_loss_learns_the_same_and_repeats_to_the_last_bit(card, ema):
    digests, losses = [], []
    for precision in ("float32", "float16", "float16"):
        model = network()
        # The gradients of so small a loss are 0 in float16 without scaling.
        settings = {"precision": precision, "optimizer": "adam", "epochs": 20, "schedule": "cosine", "ema": ema}
        history = train(model, examples(), examples(seed=1), **settings)
        digests.append(digest(model))
        losses.append(history[-1]["val_loss"])
    assert digests[0] != digests[1] == digests[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_the_steps_of_float16_are_those_of_float32_and_not_larger_by_the_scale(card):
    ends = []
    for precision in ("float32", "float16"):
        model = network()
        train(model, examples(), optimizer="sgd", momentum=0.0, epochs=1, precision=precision)
        begin = network().get_weights()
        ends.append(np.concatenate([np.ravel(w - b) for w, b in zip(model.get_weights(), begin, strict=True)]))
    assert distance(ends[1], ends[0]) < 0.05


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 4, 5])
def test_a_deterministic_copy_has_depthwise_convolutions_as_matrices_with_the_gradients_of_keras(kernel_size, strides):
    model = with_depthwise(kernel_size=kernel_size, strides=strides)
    twin, maps = copy_for_gpu(model, "float32", True), maps_of(model)
    traced = tf.function(outputs_and_gradients).get_concrete_function(twin, maps)
    assert not [each for each in traced.graph.get_operations() if "Depthwise" in each.type]
    for found, expected in zip(outputs_and_gradients(twin, maps), outputs_and_gradients(model, maps), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_matrices_in_mixed_precision_are_near():
    model = with_depthwise()
    twin, maps = copy_for_gpu(model, "bfloat16", True), maps_of(model)
    for found, expected in zip(outputs_and_gradients(twin, maps), outputs_and_gradients(model, maps), strict=True):
        assert distance(found, expected) < 0.1


@pytest.mark.parametrize("options", [{"padding": "valid"}, {"strides": 1, "dilation_rate": 2}])
def test_a_layer_that_cannot_be_deterministic_is_refused_by_its_name(card, options):
    model, settings = with_depthwise(**options), fine_tune_settings(deterministic=True)
    for refuse in (training_copy, require_deterministic):
        with pytest.raises(
            GraftError, match=r"^fine_tune\.deterministic: .* layer depthwise \(DepthwiseConv2D\) is not "
        ):
            refuse(model, settings)


def test_matrices_that_are_too_large_are_refused(card, monkeypatch):
    monkeypatch.setattr(gpu, "MATRIX_BYTES", 4 * 6 * (9 * 5) * (5 * 3))
    training_copy(with_depthwise(), fine_tune_settings(deterministic=True))
    monkeypatch.setattr(gpu, "MATRIX_BYTES", gpu.MATRIX_BYTES - 1)
    with pytest.raises(GraftError, match="layer depthwise "):
        training_copy(with_depthwise(), fine_tune_settings(deterministic=True))


def test_a_separable_convolution_is_refused(card):
    maps = keras.Input((4, 4, 2))
    x = keras.layers.SeparableConv2D(3, 3, name="separable")(maps)
    model = keras.Model(maps, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    with pytest.raises(GraftError, match=r"layer separable \(SeparableConv2D\)"):
        require_deterministic(model, fine_tune_settings(deterministic=True))


def test_layers_that_are_not_trained_need_no_gradient(card):
    model = with_depthwise(padding="valid")
    model.get_layer("depthwise").trainable = False
    require_deterministic(model, fine_tune_settings(deterministic=True))
    training_copy(model, fine_tune_settings(deterministic=True))


def test_on_a_cpu_deterministic_changes_nothing():
    digests = set()
    for deterministic in (False, True):
        model = network()
        train(model, examples(), deterministic=deterministic)
        digests.add(digest(model))
    assert len(digests) == 1
    require_deterministic(with_depthwise(padding="valid"), fine_tune_settings(deterministic=True))


@pytest.mark.parametrize(
    ("settings", "line", "calls"),
    [
        ({}, "training on A card in float32\n", ["no TensorFloat-32"]),
        ({"precision": "float16"}, "training on A card in float16\n", []),
        (
            {"deterministic": True, "precision": "auto"},
            "training on A card in float32, deterministic\n",
            ["no TensorFloat-32", "determinism"],
        ),
    ],
)
def test_one_line_names_the_gpu_and_tensorflow_is_set_up_for_it(card, capsys, monkeypatch, settings, line, calls):
    found = []
    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "enable_op_determinism", lambda: found.append("determinism"))
    monkeypatch.setattr(
        experimental,
        "enable_tensor_float_32_execution",
        lambda enabled: found.append("TensorFloat-32" if enabled else "no TensorFloat-32"),
    )
    assert prepare(fine_tune_settings(**settings)) == CARD
    assert (capsys.readouterr().out, found) == (line, calls)


def test_without_a_gpu_no_line_is_printed_and_float16_is_refused(capsys):
    assert prepare(fine_tune_settings(deterministic=True)) is None
    assert capsys.readouterr().out == ""
    with pytest.raises(GraftError, match=r"^fine_tune\.precision: float16 needs a GPU"):
        prepare(fine_tune_settings(precision="float16"))


OUT_OF_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,112,112,96]")


@pytest.mark.parametrize(
    "error",
    [OUT_OF_MEMORY, tf.errors.InternalError(None, None, "Dst tensor is not initialized.")],
)
def test_a_step_that_does_not_fit_into_the_memory_is_one_line_with_the_size_of_the_batch(card, monkeypatch, error):
    def fake_step(*arguments):
        raise error

    monkeypatch.setattr(loop, "training_step", lambda *arguments: fake_step)
    message = r"^fine_tune\.batch_size: 8 images do not fit into the memory of A card; set a smaller number$"
    with pytest.raises(GraftError, match=message), faults(fine_tune_settings()):
        train(network(), examples())


def test_computed_maps_that_do_not_fit_name_the_size_of_the_batch_in_training(card):
    error = GraftError("extract.batch_size: 8 images do not fit")
    error.__cause__ = OUT_OF_MEMORY
    with pytest.raises(GraftError, match=r"^fine_tune\.batch_size: 8 images "), faults(fine_tune_settings()):
        raise error


def test_an_operation_without_a_deterministic_form_is_one_line(card):
    def run(**settings):
        with faults(fine_tune_settings(**settings)):
            raise tf.errors.UnimplementedError(None, None, "A deterministic GPU implementation is not available.")

    with pytest.raises(
        GraftError, match=r"^fine_tune\.deterministic: TensorFlow has no .* A card; set deterministic to "
    ):
        run(deterministic=True)
    with pytest.raises(tf.errors.UnimplementedError):
        run()


@pytest.mark.parametrize(
    "error", [GraftError("lr: too large"), KeyError("x"), tf.errors.InternalError(None, None, "?")]
)
def test_all_other_faults_stay_as_they_are(card, error):
    with pytest.raises(type(error), match=re.escape(str(error))), faults(fine_tune_settings(deterministic=True)):
        raise error


def test_training_runs_with_tensorflows_deterministic_operations_alone():
    """On a CPU; in a process of its own, because this cannot be turned off."""
    result = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    line, first, second = result.stdout.splitlines()
    assert line == "training on A card in bfloat16, deterministic"
    assert first == second


if __name__ == "__main__":
    gpu.gpu_names = lambda: [CARD]
    changes = {"dropout": 0.2, "ema": 0.9, "mixup": 0.2, "deterministic": True, "precision": "bfloat16"}
    prepare(fine_tune_settings(**changes))
    for _ in range(2):
        top = network()
        train(top, examples(), examples(seed=1), **changes)
        print(digest(top))
