"""A network of KerasHub through all stages: frozen, features, head, fine-tuned for an epoch, exported, judged."""

import importlib
import json
import os
from pathlib import Path

import exported_network
import hub_presets
import numpy as np
import pytest
from clones import NO_NETWORK, STAGES, Clone, ran

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.settings import params

# test_hub.py has the networks of a second family in every run of the tests.
QUICK = ("dinov2",)
FAMILIES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in hub_presets.FAMILIES]
WITHOUT_CLASS_TOKEN = ("vit_without_class_token", "swin", "mit")
# All stages in seconds.
SHORT = {
    "dataset": "../photos",
    "lr": 1e-3,
    "head__C": 1.0,
    "head__views": 1,
    "augment__views": 1,
    "fine_tune__epochs": 1,
    "fine_tune__layer_decay": 0.75,
    "export__model": "fine_tuned",
    "export__test_resolution": 1.5,
}


def run_stages(names=STAGES):
    for name in names:
        importlib.import_module(f"stages.{name}").main()


def is_transformer(family):
    return "hidden_dim" in hub_presets.FAMILIES[family][1]


@pytest.fixture
def preset(project, image_folder):
    """Return a function of a family: it writes a preset, sets the parameters, and returns the preset's folder."""

    def write(family, **changes):
        folder = hub_presets.write_preset(project.folder.parent / f"{family}_tiny", family)
        has_class_token = is_transformer(family) and family not in WITHOUT_CLASS_TOKEN
        pooling = "cls+avg" if has_class_token else "avg+max"
        project.set(**SHORT | {"backbone": f"hub/../{folder.name}", "pooling": pooling} | changes)
        return folder

    return write


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_frozen_trained_exported_and_judged(preset, family):
    preset(family)
    run_stages()
    description = read_json(paths.BACKBONE_DESCRIPTION)
    assert np.isfinite(np.load(paths.FEATURES)).all()
    if is_transformer(family):
        assert description["cut"]["after"].startswith(("block_", "before_"))
        assert len(description["cut"]["shape"]) == 2
    assert read_json(paths.LABELS)["image_size"] == description["image_size"] * 3 // 2
    exported, by_keras = exported_network.probabilities()
    np.testing.assert_allclose(exported, by_keras, atol=1e-5)
    assert json.loads(paths.ACCURACY.read_text(encoding="utf-8"))["images"] > 0


def test_a_local_preset_is_a_link_and_random_weights_are_a_file_with_the_hash_of_its_architecture(preset):
    folder = preset("dinov2")
    run_stages(["resolve"])
    assert Path(os.readlink(paths.WEIGHTS)).resolve() == folder.resolve()
    preset("dinov2", weights="none")
    run_stages(["resolve"])
    found = read_json(paths.WEIGHTS)
    assert found["weights"] == "none"
    assert list(found["files"]) == ["config.json"]


def test_a_preset_in_kerashubs_cache_needs_no_network_and_another_file_changes_data_weights(
    project, image_folder, tmp_path, monkeypatch
):
    import keras_hub

    handle = keras_hub.models.Backbone.presets["dinov2_small"]["kaggle_handle"].removeprefix("kaggle://")
    place = tmp_path / "kaggle/models" / handle
    hub_presets.write_preset(place)
    for file in list(place.iterdir()):
        # The sign that the whole file was fetched.
        sign = place.parent / ".complete" / place.name / f"{file.name}.complete"
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.touch()
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NO_NETWORK)
    project.set(**SHORT | {"backbone": "hub/dinov2_small", "pooling": "cls", "export__test_resolution": 1})
    run_stages(["resolve"])
    before = read_json(paths.WEIGHTS)
    assert before["weights"] == "imagenet"
    assert set(before["files"]) == {"config.json", "image_converter.json", "model.weights.h5"}
    network = hub_presets.random_backbone("dinov2")
    network.layernorm.beta.assign(np.full(32, 7.0))
    network.save_weights(place / "model.weights.h5")
    run_stages(["resolve"])
    after = read_json(paths.WEIGHTS)
    assert after["files"].pop("model.weights.h5") != before["files"].pop("model.weights.h5")
    assert after == before
    run_stages(["download", "split", "freeze"])
    assert read_json(paths.BACKBONE_DESCRIPTION)["backbone"] == "hub/dinov2_small"


def test_later_stages_do_not_need_the_preset(preset):
    folder = preset("dinov2", fine_tune__epochs=0)
    run_stages(["resolve", "download", "split", "freeze"])
    folder.rename(folder.with_name("moved"))
    run_stages(["extract", "train_head", "fine_tune"])
    assert paths.FINE_TUNED.exists()


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("resnet", {"pooling": "cls"}, "pooling: cls, but hub/../resnet_tiny has no class token; choose avg, max"),
        ("dinov2", {"image_size": 45}, "image_size: 45 is no multiple of 8, the patch of hub/../dinov2_tiny; set it"),
        (
            "dinov2",
            {"head__kind": "se", "head__C": "auto", "pooling": "none", "export__test_resolution": 1},
            "head.kind: se weights the channels of a map",
        ),
        ("dinov2", {"fine_tune__from_layer": "blok_1"}, "fine_tune.from_layer: dinov2_tiny has no layer 'blok_1'"),
        ("dinov2", {"weights": "no.h5"}, "weights: no file no.h5"),
        ("dinov2", {"backbone": "hub/../nothing"}, "backbone: 'hub/../nothing' is neither a preset of KerasHub nor"),
    ],
)
def test_settings_that_do_not_go_together_with_the_preset_are_refused_by_resolve(preset, family, changes, message):
    preset(family, **changes)
    with pytest.raises(GraftError) as caught:
        run_stages(["resolve"])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_class_token_is_only_for_a_network_of_kerashub(project):
    project.set(backbone="MobileNetV2", pooling="cls+avg")
    with pytest.raises(GraftError, match=r"pooling is cls\+avg, but MobileNetV2 has no class token"):
        params.load()


def test_without_hub_nothing_of_it_is_imported(project, image_folder, run_python):
    project.set(dataset="../photos", backbone="simple_cnn", weights="none", image_size=32)
    command = (
        "import sys; from stages import resolve, download, split, freeze, extract, train_head, fine_tune, export\n"
        "for stage in (resolve, download, split, freeze): stage.main()\n"
        "print({'keras_hub', 'kagglehub', 'graft.backbone.hub'} & set(sys.modules))"
    )
    result = run_python("-c", command, folder=project.folder)
    assert result.stdout.splitlines()[-1:] == ["set()"], result.stderr


@pytest.mark.slow
def test_dvc_notices_another_weights_file_in_a_local_preset(tmp_path, write_image_folder):
    clone = Clone.of_working_files(tmp_path)
    write_image_folder(clone.photos, count=4)
    folder = hub_presets.write_preset(tmp_path / "dinov2_tiny")
    clone.set(**SHORT | {"backbone": "hub/../dinov2_tiny", "image_size": 32, "pooling": "cls"})
    assert ran(clone.dvc("repro", "freeze")) == ["resolve", "freeze"]
    assert ran(clone.dvc("repro", "freeze")) == []
    network = hub_presets.random_backbone("dinov2")
    network.layernorm.beta.assign(np.full(32, 7.0))
    network.save_weights(folder / "model.weights.h5")
    assert "freeze" in ran(clone.dvc("repro", "freeze"))


@pytest.mark.network
def test_the_class_token_of_dinov2_small_tells_flowers_apart_as_published(project):
    """Oquab et al. 2023, arXiv 2304.07193, linear classification on fine-grained sets: 99.6 % for ViT-S/14."""
    project.set(dataset="oxford_flowers102", backbone="hub/dinov2_small", image_size=224, pooling="cls", head__C="auto")
    run_stages(["resolve", "download", "split", "freeze", "extract", "train_head"])
    assert len(read_json(paths.WEIGHTS)["files"]["model.weights.h5"]) == 64
    assert read_json(paths.HEAD_METRICS)["head_validation"]["accuracy"] > 0.985
