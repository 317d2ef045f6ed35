"""A network of KerasHub through all stages: frozen, features, head, fine-tuned for an epoch, exported, judged."""

import importlib
import json
import os
from pathlib import Path

import hub_presets
import numpy as np
import pytest
from clones import STAGES, Clone, ran

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.images import loader
from graft.images.table import read_image_table
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


def keras_probabilities(file, size):
    """Return what the exported network gives for an image, computed by Keras."""
    from graft.heads.head import read_head
    from graft.serving.export import candidates

    head, _ = read_head(paths.HEAD)
    best = next(candidates(params.load(), head, read_image_table()))
    image = np.asarray(loader.load(file, size, "crop"), np.float32)[np.newaxis]
    logits = best.upper(best.backbone.cut.trunk(best.backbone.scaling(image), training=False), training=False)
    shares = np.exp(np.asarray(logits, np.float64)[0])
    return image[0].astype(np.uint8), shares / shares.sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_frozen_trained_exported_and_judged(preset, family):
    preset(family)
    run_stages()
    description = read_json(paths.BACKBONE_DESCRIPTION)
    assert np.isfinite(np.load(paths.FEATURES)).all()
    if is_transformer(family):
        assert description["cut"]["after"].startswith(("block_", "before_"))
        assert len(description["cut"]["shape"]) == 2
    size = read_json(paths.LABELS)["image_size"]
    assert size == description["image_size"] * 3 // 2
    image, expected = keras_probabilities(read_image_table().files()[0], size)
    np.testing.assert_allclose(classify(image), expected, atol=1e-5)
    assert json.loads(paths.ACCURACY.read_text(encoding="utf-8"))["images"] > 0


def classify(image):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(paths.CLASSIFIER))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def test_a_local_preset_is_a_link_and_random_weights_are_a_file_with_the_hash_of_its_architecture(preset):
    folder = preset("dinov2")
    run_stages(["resolve"])
    assert Path(os.readlink(paths.WEIGHTS)).resolve() == folder.resolve()
    preset("dinov2", weights="none")
    run_stages(["resolve"])
    found = read_json(paths.WEIGHTS)
    assert found["weights"] == "none"
    assert list(found["files"]) == ["config.json"]


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
