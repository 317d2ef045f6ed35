"""The vision models of KerasHub: read from a preset, laid open, cut, compiled, built again."""

import json
import sys
from dataclasses import asdict

import hub_presets
import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from graft.backbone import hub
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut, cut_points
from graft.core.errors import GraftError

QUICK = ("dinov2", "resnet")
FAMILIES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in hub_presets.FAMILIES]
TRANSFORMERS = [kind for kind, (_, arguments) in hub_presets.FAMILIES.items() if "hidden_dim" in arguments]
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)


def pixels(size):
    return PIXELS[:, :size, :size]


def own_output(loaded, images):
    """Return what KerasHub's own network gives, of HGNetV2's outputs that of the last stage."""
    output = loaded.backbone.output
    if isinstance(output, dict):
        output = output[max(name for name in output if name != "stem")]
    return np.asarray(keras.Model(loaded.backbone.inputs[0], output)(images, training=False))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A preset of a family in a folder: its name as in params.yaml, its family, and what `hub.load` gives."""
    folder = hub_presets.write_preset(tmp_path_factory.mktemp("presets") / "a.preset", request.param)
    name = f"hub/{folder}"
    return name, request.param, hub.load(name)


def test_the_network_gives_what_the_preset_gives(family):
    _, kind, loaded = family
    images = np.asarray(loaded.preset.scaling(pixels(loaded.image_size)))
    np.testing.assert_allclose(images, pixels(loaded.image_size) * hub_presets.SCALE + hub_presets.OFFSET, atol=1e-5)
    outputs = np.asarray(hub.network(loaded, loaded.image_size, "imagenet")(images, training=False))
    own = own_output(loaded, images)
    if kind == "siglip":
        # Its attention pooling takes the place of a class token.
        outputs = outputs[:, 0]
    elif outputs.ndim == 3:
        # Registers and the token of distillation are left out.
        own = np.concatenate([own[:, :1], own[:, 1 - outputs.shape[1] :]], axis=1)
    np.testing.assert_allclose(outputs.reshape(own.shape), own, rtol=1e-6, atol=1e-6 * np.abs(own).max())


def test_trunk_and_top_are_the_network_wherever_it_is_cut(family):
    _, kind, loaded = family
    model = hub.network(loaded, loaded.image_size, "imagenet")
    images = np.asarray(loaded.preset.scaling(pixels(loaded.image_size)))
    whole = np.asarray(model(images, training=False))
    names = [point.after for point in cut_points(model)]
    if kind in TRANSFORMERS:
        assert [f"block_{number}" for number in range(3)] == [name for name in names if name.startswith("block_")]
    for point in cut_points(model)[:: max(1, len(names) // 5)]:
        halves = cut(model, point.index)
        outputs = np.asarray(halves.top(halves.trunk(images, training=False), training=False))
        np.testing.assert_allclose(outputs, whole, rtol=1e-6, atol=1e-6 * np.abs(whole).max())


def test_the_compiled_network_agrees_and_has_the_same_bytes_when_built_again(family, tmp_path):
    name, _, loaded = family
    model = hub.network(loaded, loaded.image_size, "imagenet")
    compiled = compile_network(model, loaded.preset.scaling)
    images = pixels(loaded.image_size)
    expected = np.asarray(model(loaded.preset.scaling(images), training=False))
    for image, output in zip(images, expected, strict=True):
        np.testing.assert_allclose(run(compiled, image), output, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    model.save_weights(tmp_path / "a.weights.h5")
    preset = hub.Preset(**asdict(loaded.preset))
    again = hub.rebuilt(name, preset, loaded.image_size, tmp_path / "a.weights.h5", loaded.image_size)
    assert compile_network(again, preset.scaling) == compiled


def test_the_network_can_be_built_again_at_a_larger_size(family, tmp_path):
    name, _, loaded = family
    model = hub.network(loaded, loaded.image_size, "imagenet")
    model.save_weights(tmp_path / "a.weights.h5")
    # By half: position embeddings of a patch 8 go from 4 x 4 to 6 x 6.
    size = loaded.image_size * 3 // 2
    larger = hub.rebuilt(name, loaded.preset, size, tmp_path / "a.weights.h5", loaded.image_size)
    assert larger.input_shape[1:3] == (size, size)
    assert np.isfinite(larger(np.zeros((1, size, size, 3), np.float32))).all()
    for new, old in zip(larger.weights, model.weights, strict=True):
        assert new.shape == old.shape or new.name == "place_positions"


def run(compiled, image):
    interpreter = Interpreter(model_content=compiled)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis].astype(np.uint8))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    return f"hub/{hub_presets.write_preset(tmp_path_factory.mktemp('presets') / 'dinov2_tiny')}"


def test_position_embeddings_are_interpolated_as_kerashub_does(dinov2):
    loaded = hub.load(dinov2)
    import keras_hub

    folder = dinov2.removeprefix("hub/")
    own = keras_hub.models.Backbone.from_preset(folder, image_shape=(64, 64, 3))
    images = np.asarray(loaded.preset.scaling(PIXELS))
    outputs = np.asarray(hub.network(loaded, 64, "imagenet")(images))
    np.testing.assert_allclose(outputs, np.asarray(own({"images": images})), rtol=1e-5, atol=1e-5)


def test_random_weights_depend_on_the_name_alone(dinov2, tmp_path):
    first, second = (hub.network(hub.load(dinov2, pretrained=False), 32, "none") for _ in range(2))
    other = hub_presets.write_preset(tmp_path / "another_name")
    third = hub.network(hub.load(f"hub/{other}", pretrained=False), 32, "none")
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert not np.array_equal(first.get_layer("patches").kernel, third.get_layer("patches").kernel)


@pytest.mark.slow
def test_the_weights_of_a_model_of_timm_are_those_in_its_file(tmp_path):
    from safetensors.numpy import load_file

    folder = hub_presets.write_preset(tmp_path / "resnet18", "timm_resnet18")
    loaded = hub.load(f"hub/{folder}")
    assert set(loaded.files) == {"config.json", "model.safetensors"}
    found, expected = hub_presets.timm_weights(loaded.backbone), load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_files_that_decide_what_is_computed_are_named_by_their_hash(dinov2):
    files = hub.load(dinov2).files
    assert set(files) == {"config.json", "image_converter.json", "model.weights.h5"}
    assert all(len(sha256) == 64 for sha256 in files.values())


def test_weights_can_come_from_another_file(dinov2, tmp_path):
    other = hub_presets.random_backbone("dinov2")
    other.layernorm.beta.assign(np.full(32, 7.0))
    other.save_weights(tmp_path / "other.weights.h5")
    model = hub.network(hub.load(dinov2), 32, str(tmp_path / "other.weights.h5"))
    np.testing.assert_array_equal(model.get_layer("after_0").beta, np.full(32, 7.0))


def test_a_size_that_the_patch_does_not_divide_is_refused_and_auto_becomes_the_next_multiple(dinov2):
    loaded = hub.load(dinov2)
    with pytest.raises(GraftError, match="image_size: 45 is no multiple of 8, the patch of .*; set it to 40 or 48"):
        hub.fitting_size(loaded, 45, automatic=False)
    assert hub.fitting_size(loaded, 45, automatic=True) == 48
    assert hub.fitting_size(loaded, None, automatic=True) == 32


def test_the_nearest_presets_are_named():
    with pytest.raises(GraftError, match="did you mean 'hub/dinov2_small'") as caught:
        hub.load("hub/dinov2_smal")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hub/bert_tiny_en_uncased", "hub/whisper_tiny_en"])
def test_a_preset_for_text_or_audio_is_refused_before_anything_is_fetched(name):
    with pytest.raises(GraftError, match=f"backbone: {name} is no image encoder that can be used; choose a preset of"):
        hub.load(name)


def test_a_folder_with_a_model_for_text_is_refused(tmp_path):
    import keras_hub

    network = keras_hub.models.BertBackbone(
        vocabulary_size=8, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4
    )
    network.save_to_preset(str(tmp_path / "bert"))
    with pytest.raises(GraftError, match="is no image encoder that can be used, but a BertBackbone"):
        hub.load(f"hub/{tmp_path / 'bert'}")


def test_no_name_at_all_is_one_line():
    with pytest.raises(GraftError, match=r"^backbone: 'hub/' is neither a preset of KerasHub nor a folder; [^\n]*$"):
        hub.load("hub/")


def test_a_preset_without_its_scaling_is_refused(dinov2, tmp_path):
    hub_presets.random_backbone("dinov2").save_to_preset(str(tmp_path / "bare"))
    with pytest.raises(GraftError, match=r"has no image_converter.json"):
        hub.load(f"hub/{tmp_path / 'bare'}")
    assert hub.load(f"hub/{tmp_path / 'bare'}", pretrained=False).preset.scale == [1 / 127.5] * 3


def test_a_package_that_a_format_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_hub.src.utils.transformers.safetensor_utils.safetensors", None)
    scaling = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = {"architecture": "resnet18", "pretrained_cfg": scaling}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(GraftError, match=r"^backbone: hub/.* needs a package [^\n]*; run pip install safetensors$"):
        hub.load(f"hub/{tmp_path}")


# The client of Hugging Face tries again for half a minute.
@pytest.mark.parametrize(
    "name", ["hub/dinov2_small", pytest.param("hub/hf://timm/resnet18.a1_in1k", marks=pytest.mark.slow)]
)
def test_without_network_and_with_nothing_in_the_cache_there_is_one_line(name, tmp_path, run_python):
    command = (
        "from graft.backbone import hub; from graft.core.errors import run; "
        f"run(lambda: hub.load({name!r}), keeps_outputs=True)"
    )
    nobody = "http://127.0.0.1:9"
    caches = {"HOME": tmp_path, "KAGGLEHUB_CACHE": tmp_path, "HF_HOME": tmp_path}
    proxies = {"http_proxy": nobody, "https_proxy": nobody, "HTTPS_PROXY": nobody, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = run_python("-c", command, folder=tmp_path, **proxies | {key: str(path) for key, path in caches.items()})
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if "Errno" in line or "Retry" in line]
    assert not errors[:-1]
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: backbone: {name} could not be fetched or read (")
    assert "connect to the network" in last
    assert "Traceback" not in result.stderr


def test_without_the_package_there_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(
        GraftError, match=r"^backbone: hub/ needs KerasHub; run pip install -c constraints\.txt -e '\.\[hub\]'$"
    ):
        hub.load("hub/dinov2_small")


@pytest.mark.slow
def test_the_image_encoder_of_a_pair_is_taken(tmp_path):
    import keras_hub

    text = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=8, embedding_dim=8, hidden_dim=8, num_layers=1, num_heads=1, intermediate_dim=8
    )
    pair = keras_hub.models.CLIPBackbone(hub_presets.random_backbone("clip"), text, projection_dim=8)
    pair.save_to_preset(str(tmp_path / "pair"))
    keras_hub.layers.ImageConverter(scale=1.0).save_to_preset(str(tmp_path / "pair"))
    loaded = hub.load(f"hub/{tmp_path / 'pair'}")
    images = PIXELS[:, :32, :32]
    outputs = hub.network(loaded, 32, "imagenet")(images)
    np.testing.assert_allclose(outputs, pair.vision_encoder({"images": images}), rtol=1e-5, atol=1e-5)
