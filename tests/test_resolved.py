"""What a name, a path or `auto` in params.yaml stands for."""

from pathlib import Path

import pytest

from graft.core.errors import GraftError
from graft.settings import backbone_table, params
from graft.settings.resolved import image_size, resolved_weights, view_settings, weights_source

BACKBONE = "EfficientNetLite2"


def augment(project, **changes):
    project.set(**{f"augment__{key}": value for key, value in changes.items()})
    return params.load().augment


def test_the_image_size_of_the_catalog_comes_before_the_backbones():
    assert image_size("auto", "digits", BACKBONE) == 48


def test_a_data_set_of_ones_own_has_the_backbones_image_size():
    assert image_size("auto", "my/photos", BACKBONE) == backbone_table.get(BACKBONE).image_size == 260


def test_a_setting_comes_before_the_image_size_of_the_catalog():
    assert image_size(64, "digits", BACKBONE) == 64


def test_the_smallest_image_that_the_backbone_takes_is_allowed_and_no_smaller_one():
    smallest = backbone_table.get("InceptionV3").minimum_size
    assert image_size(smallest, "digits", "InceptionV3") == smallest
    with pytest.raises(GraftError, match=rf"^image_size: {smallest - 1} is too small, InceptionV3 takes {smallest} or"):
        image_size(smallest - 1, "digits", "InceptionV3")


@pytest.mark.parametrize(("dataset", "flip"), [("digits", "none"), ("my/photos", "horizontal")])
def test_the_data_set_decides_which_mirror_images_keep_their_label(project, dataset, flip):
    assert view_settings(augment(project, flip="auto"), dataset)["flip"] == flip


def test_a_setting_comes_before_what_the_catalog_says_of_mirror_images(project):
    assert view_settings(augment(project, flip="both"), "digits")["flip"] == "both"


def test_view_settings_are_those_of_augment_but_for_the_number_of_views(project):
    settings = augment(project, views=7, flip="none", zoom=0.25)
    assert view_settings(settings, "digits") == settings.model_dump(exclude={"views"})


@pytest.mark.parametrize("name", ["imagenet", "none"])
def test_named_weights_are_the_content_of_a_json_file(tmp_path, name):
    assert weights_source(name, tmp_path) == {"weights": name}


def test_a_weights_file_is_its_path_from_the_root_or_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "own.h5").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_source("own.h5", tmp_path) == tmp_path / "own.h5"
    assert weights_source("~/own.h5", tmp_path / "elsewhere") == tmp_path / "own.h5"


@pytest.mark.parametrize("weights", ["missing.h5", "."])
def test_weights_that_are_no_file_are_refused_with_what_would_do(tmp_path, weights):
    with pytest.raises(GraftError, match=rf"^weights: no file {weights}; give one, or one of imagenet, none$"):
        weights_source(weights, tmp_path)


def test_resolved_weights_are_a_name_or_the_path_of_the_file_behind_the_link(tmp_path):
    source, own = tmp_path / "weights", tmp_path / "own.h5"
    source.write_text('{"weights": "none"}')
    assert resolved_weights(source) == "none"
    own.touch()
    source.unlink()
    source.symlink_to(own)
    assert Path(resolved_weights(source)) == own


def test_a_name_of_weights_that_no_file_system_takes_is_one_line_with_the_key(tmp_path):
    with pytest.raises(GraftError, match=r"^weights: 'x+\.\.\.x+' cannot be read: File name too long$"):
        weights_source("x" * 300, tmp_path)
