"""params.yaml of the repository: it is the user's, so that whatever it says no other test depends on it."""

import difflib

import own_parameters
import pytest
import yaml
from clones import ROOT
from dvc.utils.serialize import modify_yaml

from graft.__main__ import command
from graft.settings import params

FILE = ROOT / "params.yaml"


def test_every_key_is_there_with_a_valid_value():
    params.load(FILE)


def test_the_tests_own_parameters_are_valid_too():
    assert params.load(own_parameters.FILE).dataset == "digits"


def test_an_experiment_changes_one_line_and_keeps_the_comments(tmp_path):
    """DVC writes params.yaml anew for each `-S`: what it would write otherwise would be in every diff."""
    path = tmp_path / "params.yaml"
    text = FILE.read_text(encoding="utf-8")
    if yaml.safe_load(text) != own_parameters.VALUES:
        pytest.skip("params.yaml has settings of the user")
    path.write_text(text, encoding="utf-8")
    with modify_yaml(path) as values:
        values["lr"] = 1e-4
        values["fine_tune"]["patience"] = 3
    changed = [line for line in difflib.ndiff(text.splitlines(), path.read_text().splitlines()) if line[0] in "-+"]
    assert changed == ["- lr: 3.0e-4", "+ lr: 0.0001", "-   patience:", "+   patience: 3"]


def test_after_a_preset_default_gives_back_every_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    presets = (ROOT / "presets.yaml").read_text(encoding="utf-8")
    (tmp_path / "presets.yaml").write_text(presets, encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_bytes(FILE.read_bytes())
    if yaml.safe_load(path.read_bytes()) != own_parameters.VALUES:
        pytest.skip("params.yaml has settings of the user")
    # Of the user's own file the recipe is the user's too.
    command(["preset", "default"])
    before = path.read_bytes()
    for name in yaml.safe_load(presets):
        command(["preset", name])
        params.load(path)
        command(["preset", "default"])
        assert path.read_bytes() == before, name
