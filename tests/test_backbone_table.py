"""The table of backbones: its names, and the page of docs/ that is made of it."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

from graft.core.errors import GraftError
from graft.settings import backbone_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/backbones.md"


def test_the_table_has_every_classification_network_of_keras_applications():
    theirs = {name for name in dir(keras.applications) if name[0].isupper()}
    assert len(theirs) == 40
    assert theirs <= set(backbone_table.NAMES)


def test_the_parameters_can_be_checked_without_importing_keras():
    code = "import sys, graft.settings.params; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "set()"


def test_an_unknown_name_is_refused_with_the_nearest_ones():
    with pytest.raises(GraftError, match="backbone: 'mobilenetv2' is not known; did you mean 'MobileNetV2'"):
        backbone_table.get("mobilenetv2")


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetLite0"])
def test_the_page_has_the_figures_of_the_network(name):
    from benchmarks.backbones_table import row

    assert row(name) in PAGE.read_text(encoding="utf-8")


def test_the_page_has_a_line_for_every_backbone():
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"\n| {name} | {backbone_table.get(name).image_size} | " in page for name in backbone_table.NAMES)


def test_the_page_has_a_line_for_every_preset_of_kerashub_that_the_script_names():
    from benchmarks.hub_presets import PRESETS

    page = PAGE.read_text(encoding="utf-8")
    assert all(f"\n| hub/{preset.name} | " in page for preset in PRESETS)


def test_every_figure_of_a_preset_has_its_source():
    from benchmarks.hub_presets import PRESETS, SOURCES

    assert {preset.source for preset in PRESETS} == {*SOURCES, "-"}
    assert all((preset.figure == "-") == (preset.source == "-") for preset in PRESETS)


def test_small_networks_are_measured_and_large_ones_are_not(monkeypatch):
    from benchmarks import backbones_table

    monkeypatch.setattr(backbones_table, "MEASURED", 1)
    assert backbones_table.measure("simple_cnn") > 0
    monkeypatch.setattr(backbones_table, "MOST_MULTIPLY_ADDS", 1)
    assert backbones_table.measure("simple_cnn") is None
