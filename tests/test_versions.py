"""The versions that results depend on: written by resolve, compared by every stage that computes."""

import importlib.util
import json
import runpy
from importlib.metadata import version
from pathlib import Path

import pytest
from clones import ran

from graft.core.errors import GraftError
from graft.core.versions import installed_versions, record_versions, require_recorded_versions, version_changes
from stages import resolve

ENVIRONMENT = Path("data/environment.json")


def rewrite(folder, **versions):
    path = folder / ENVIRONMENT
    path.write_text(json.dumps(json.loads(path.read_text()) | versions), encoding="utf-8")


def test_every_package_that_computes_is_written_down_and_whether_onednn_is_on(project):
    record_versions()
    found = json.loads(ENVIRONMENT.read_text())
    assert found["numpy"] == version("numpy")
    assert {"ai-edge-litert", "keras", "numpy", "pillow", "scikit-learn", "scipy", "tensorflow"} <= found.keys()
    assert found["oneDNN"] == "1"


def test_the_package_for_heic_counts_where_the_data_set_has_such_images(project, image_folder, monkeypatch):
    versions = {"pillow-heif": "1.8"}
    monkeypatch.setattr("graft.core.versions.version", lambda name: versions.get(name, "1.0"))
    project.set(dataset=str(image_folder))
    resolve.main()
    assert "pillow-heif" not in json.loads(ENVIRONMENT.read_text())
    (image_folder / "red/new.HEIC").touch()
    resolve.main()
    assert json.loads(ENVIRONMENT.read_text())["pillow-heif"] == "1.8"
    require_recorded_versions()
    versions["pillow-heif"] = "1.9"
    with pytest.raises(GraftError, match=r"\(pillow-heif 1\.8 -> 1\.9\)"):
        require_recorded_versions()


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif"), reason="pillow-heif is installed")
def test_where_the_package_for_heic_is_missing_that_is_written_down(project, image_folder):
    (image_folder / "red/new.heif").touch()
    project.set(dataset=str(image_folder))
    resolve.main()
    assert json.loads(ENVIRONMENT.read_text())["pillow-heif"] == "none"


def test_the_same_versions_are_no_change(project, capsys):
    record_versions()
    record_versions()
    require_recorded_versions()
    assert capsys.readouterr().out == ""


def test_a_change_is_named_with_both_versions():
    assert version_changes({"keras": "3.1", "numpy": "2.4"}, {"keras": "3.2", "numpy": "2.4"}) == ["keras 3.1 -> 3.2"]
    assert version_changes({"old": "1"}, {"new": "2"}) == ["new none -> 2", "old 1 -> none"]


def test_after_an_upgrade_resolve_says_what_has_changed(project, capsys):
    record_versions()
    rewrite(project.folder, pillow="1.0")
    record_versions()
    line = f"versions have changed, what they compute runs again: pillow 1.0 -> {version('pillow')}\n"
    assert capsys.readouterr().out == line
    assert json.loads(ENVIRONMENT.read_text()) == installed_versions()


def test_other_versions_than_the_recorded_ones_are_refused(project):
    record_versions()
    rewrite(project.folder, numpy="1.0")
    message = (
        rf"environment\.json: other versions are installed \(numpy 1\.0 -> {version('numpy')}\); `dvc repro --force"
    )
    with pytest.raises(GraftError, match=message):
        require_recorded_versions()


# The tests below have the refusal of each stage.
@pytest.mark.slow
def test_after_an_upgrade_nothing_is_mixed_and_the_advised_commands_redo_all_that_computes(clone):
    """As if scikit-learn had been upgraded since the last run: DVC and data/environment.json have an older version."""
    rewrite(clone.path, **{"scikit-learn": "1.0"})
    stages = ("resolve", "download", "freeze", "extract", "inspect", "train_head", "fine_tune", "export")
    clone.dvc("commit", "--force", *stages)
    # On any other change resolve runs, and records the versions anew.
    clone.set(lr=2e-3)
    refused = clone.attempt("dvc", "repro")
    assert "error: data/environment.json: other versions are installed (scikit-learn 1.0 -> " in refused.stderr
    assert "versions have changed" in clone.dvc("repro", "--force", "--single-item", "resolve")
    output = clone.dvc("repro")
    # The others ran with these versions before, so that DVC has their outputs.
    assert ran(output) == ["fine_tune", "export", "evaluate", "describe"]
    for stage in ("download", "freeze", "extract", "inspect", "train_head"):
        assert f"Stage '{stage}' is cached - skipping run" in output


@pytest.mark.filterwarnings("ignore:'stages:RuntimeWarning")
@pytest.mark.parametrize(
    "stage", ["download", "freeze", "extract", "inspect", "train_head", "fine_tune", "export", "evaluate", "describe"]
)
def test_each_stage_that_computes_refuses_other_versions(project, stage):
    record_versions()
    rewrite(project.folder, tensorflow="1.0")
    expected = "^error: data/environment.json: other versions are installed \\(tensorflow 1.0 -> [^\n]*$"
    with pytest.raises(SystemExit, match=expected):
        runpy.run_module(f"stages.{stage}", run_name="__main__")
