"""`dvc repro` with the kinds of backbones: from photos to the model card, and the exported file agrees with Keras."""

import json

import exported_network
import hub_presets
import numpy as np
import pytest
from clones import SMALL, STAGES, Clone, ran

pytestmark = pytest.mark.slow
SHORT = SMALL | {"fine_tune__epochs": 1}
FROZEN = {"fine_tune__from_layer": 1.0, "fine_tune__epochs": 0, "export__model": "head"}


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "ResNeXt50"},
        {"backbone": ["MobileNetV2_035", "MobileNetV3Small"]} | FROZEN,
        # test_hub_pipeline.py runs the same stages for each family.
        {"backbone": "hub/../dinov2_tiny", "weights": "imagenet", "pooling": "cls+avg"},
    ],
    ids=["ResNeXt50", "side by side", "DINOv2"],
)
def test_repro_goes_from_photos_to_the_model_card(changes, tmp_path, write_image_folder, monkeypatch):
    clone = Clone.of_working_files(tmp_path)
    write_image_folder(clone.photos)
    hub_presets.write_preset(tmp_path / "dinov2_tiny")
    clone.set(**SHORT | changes)
    assert ran(clone.dvc("repro")) == STAGES
    assert ran(clone.dvc("repro")) == []
    assert json.loads((clone.path / "metrics/accuracy.json").read_text())["images"] > 0
    name = changes["backbone"]
    card = (clone.path / "models/model_card.md").read_text(encoding="utf-8")
    assert ("+".join(name) if isinstance(name, list) else name) in card
    monkeypatch.chdir(clone.path)
    exported, by_keras = exported_network.probabilities()
    np.testing.assert_allclose(exported, by_keras, atol=1e-5)
