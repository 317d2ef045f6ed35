"""Stage resolve: links to what is local, a small file of what must be fetched, and every fault before anything runs."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from graft.core.errors import GraftError
from stages import resolve

SOURCE, WEIGHTS = Path("data/source"), Path("data/weights")
CHECKSUM = "0" * 64
ROOT = Path(__file__).resolve().parents[1]


def test_a_data_set_of_the_catalog_becomes_a_file_of_its_entry(project):
    resolve.main()
    assert json.loads(SOURCE.read_text())["embedded"] == "sklearn.digits"
    assert json.loads(WEIGHTS.read_text()) == {"weights": "imagenet"}


def test_an_address_becomes_a_file_of_address_and_checksum(project):
    project.set(dataset="https://example.org/a.tgz", dataset_sha256=CHECKSUM)
    resolve.main()
    written = json.loads(SOURCE.read_text())
    assert (written["url"], written["sha256"]) == ("https://example.org/a.tgz", CHECKSUM)


def test_photos_in_the_folder_that_download_writes_are_not_deleted(project, write_image_folder):
    write_image_folder(Path("data/raw/pets"))
    line = (
        "data/raw: the pipeline has not written it, as data/raw.json is missing, and dvc repro would delete it: move "
        "your files to another folder, such as photos, or delete it if nothing in it is yours"
    )
    with pytest.raises(GraftError, match=f"^{re.escape(line)}$"):
        resolve.main()
    Path("data/raw.json").touch()
    resolve.main()


def test_a_folder_becomes_a_link(project, image_folder):
    project.set(dataset=str(image_folder))
    resolve.main()
    assert SOURCE.is_symlink()
    assert SOURCE.resolve() == image_folder


@pytest.mark.parametrize(
    ("key", "setting", "output"),
    [
        ("dataset", "data/raw", "data/raw"),
        ("dataset", "./data/raw/pets", "data/raw"),
        ("dataset", "link", "data/raw"),
        ("dataset", "data", "data/source"),
        ("dataset", "data/source", "data/source"),
        ("weights", "models/fine_tuned.weights.h5", "models/fine_tuned.weights.h5"),
    ],
)
def test_what_a_stage_writes_is_no_input_as_dvc_deletes_it_before(project, write_image_folder, key, setting, output):
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    write_image_folder(Path("data/raw"))
    write_image_folder(Path("data/raw/pets"))
    Path("link").symlink_to("data/raw")
    SOURCE.symlink_to(Path("data/raw").absolute())
    Path("models").mkdir()
    Path("models/fine_tuned.weights.h5").touch()
    project.set(**{key: setting})
    line = f"{key}: {setting}: dvc repro deletes and writes {output}; keep your files in another folder, such as photos"
    with pytest.raises(GraftError, match=f"^{re.escape(line)}$"):
        resolve.main()
    assert len(list(SOURCE.glob("pets/*/*"))) == 36


def test_a_folder_in_data_that_no_stage_writes_is_taken(project, write_image_folder):
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    project.set(dataset=str(write_image_folder(Path("data/photos"))))
    resolve.main()
    assert SOURCE.is_dir()


def test_an_archive_and_a_weights_file_become_links(project):
    Path("photos.zip").touch()
    Path("own.h5").touch()
    project.set(dataset="photos.zip", weights="own.h5")
    resolve.main()
    assert SOURCE.resolve() == Path("photos.zip").absolute()
    assert WEIGHTS.resolve() == Path("own.h5").absolute()


def test_a_path_is_meant_from_the_repository_even_in_a_temporary_clone(project, image_folder, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(image_folder.parent))
    project.set(dataset="photos")
    resolve.main()
    assert SOURCE.resolve() == image_folder


def test_what_was_resolved_before_is_replaced(project, image_folder):
    project.set(dataset=str(image_folder))
    resolve.main()
    project.set()
    resolve.main()
    assert os.readlink(SOURCE) == "source.json"
    assert json.loads(SOURCE.read_text())["embedded"] == "sklearn.digits"
    project.set(dataset=str(image_folder))
    resolve.main()
    assert SOURCE.resolve() == image_folder


def test_the_same_parameters_give_the_same_bytes(project):
    resolve.main()
    first = SOURCE.read_bytes()
    resolve.main()
    assert SOURCE.read_bytes() == first


def test_a_dangling_link_is_replaced(project):
    SOURCE.parent.mkdir()
    os.symlink("nowhere", SOURCE)
    resolve.main()
    assert json.loads(SOURCE.read_text())["embedded"] == "sklearn.digits"


def test_a_name_of_the_catalog_that_is_also_a_folder_is_the_catalogs_and_a_line_says_so(project, capsys):
    resolve.main()
    assert "catalog" not in capsys.readouterr().out
    Path("digits").mkdir()
    resolve.main()
    assert json.loads(SOURCE.read_text())["embedded"] == "sklearn.digits"
    message = "dataset digits is the catalog's; for the folder of that name here, write dataset: ./digits\n"
    assert message in capsys.readouterr().out


def test_a_folder_named_like_a_data_set_of_the_catalog_is_taken_by_its_path(project, capsys):
    Path("digits").mkdir()
    project.set(dataset="./digits", image_size=48)
    resolve.main()
    assert SOURCE.resolve() == Path("digits").absolute()
    assert "catalog" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("yellow", ".", "is a link to a folder, where DVC sees no change"),
        ("red/x", "y", "is a link that leads nowhere"),
    ],
)
def test_a_link_that_dvc_cannot_follow_changes_nothing(project, image_folder, name, target, message):
    (image_folder / name).symlink_to(target)
    project.set(dataset=str(image_folder))
    with pytest.raises(GraftError, match=rf"photos: {name} {message}; "):
        resolve.main()
    assert not SOURCE.exists()


def test_a_folder_in_the_links_place_is_never_deleted(project):
    SOURCE.mkdir(parents=True)
    with pytest.raises(GraftError, match=r"^data/source: this name is for a link .*; move the folder elsewhere$"):
        resolve.main()
    assert SOURCE.is_dir()


@pytest.mark.parametrize("weights", ["own.h5", ".", "~nobody-of-that-name/own.h5"])
def test_a_missing_weights_file_is_one_line_and_changes_nothing(project, weights):
    project.set(weights=weights)
    with pytest.raises(GraftError, match=r"^weights: no file \S+; give one, or one of imagenet, none$"):
        resolve.main()
    assert not SOURCE.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 24}, r"image_size: 24 is too small, EfficientNetLite0 takes 32 or more"),
        # The data set's own size is 48.
        ({"backbone": "InceptionV3"}, r"image_size: 48 is too small, InceptionV3 takes 75 or more"),
    ],
)
def test_an_image_too_small_for_the_backbone_changes_nothing(project, changes, message):
    project.set(**changes)
    with pytest.raises(GraftError, match=message):
        resolve.main()
    assert not SOURCE.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from_layer": "stem_con"}, "fine_tune.from_layer: EfficientNetLite0 has no layer 'stem_con'; did you mean"),
        ({"from_layer": 999}, "fine_tune.from_layer: EfficientNetLite0 has no layer 999; its layers are 0 to"),
        ({"to_layer": 0.1}, "fine_tune.to_layer: 0.1 is layer .* not after from_layer"),
    ],
)
def test_a_layer_that_the_backbone_has_not_is_refused(project, changes, message):
    project.set(**{f"fine_tune__{key}": value for key, value in changes.items()})
    with pytest.raises(GraftError, match=message):
        resolve.main()
    assert not SOURCE.exists()


@pytest.mark.parametrize("key", ["head.tensorboard", "fine_tune.tensorboard"])
def test_a_log_that_cannot_be_written_is_refused_with_its_key(project, monkeypatch, key):
    monkeypatch.setattr(resolve.tensorboard, "find_spec", lambda name: None)
    project.set(**{key.replace(".", "__"): True})
    with pytest.raises(GraftError, match=f"^{key}: the package tensorboard is not installed"):
        resolve.main()
    assert not SOURCE.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "flower_photo"}, "error: dataset: flower_photo is no data set of the catalog"),
        ({"dataset": "https://example.org/a.zip"}, "needs dataset_sha256 in params.yaml"),
        ({"backbone": "EfficientNetLite"}, "did you mean 'EfficientNetLite2'"),
        ({"lr": "fast"}, "error: params.yaml: lr is 'fast'"),
    ],
)
def test_a_fault_ends_the_stage_with_one_line_and_status_1(project, run_python, changes, message):
    project.set(**changes)
    result = run_python("-m", "stages.resolve", folder=project.folder)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not SOURCE.exists()
