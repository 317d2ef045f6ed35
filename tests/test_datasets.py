"""The catalog of data sets, and what `dataset` stands for."""

import hashlib
import re

import pytest
import yaml

from graft.core.errors import GraftError
from graft.settings import datasets

# Nobody has published a checksum of these.
UNPUBLISHED = ("coco_animals",)
CHECKSUM = hashlib.sha256(b"").hexdigest()


def test_every_entry_can_be_had_and_says_what_it_is():
    for name, entry in datasets.entries().items():
        assert (entry.url is None) != (entry.embedded is None), name
        assert (entry.url is None) == (entry.sha256 is None) or name in UNPUBLISHED, name
        assert entry.names is None or len(set(entry.names)) == entry.classes, name
        assert entry.licence, name
        assert entry.classes >= 2, name
        assert entry.images >= entry.classes, name


def test_every_checksum_is_64_hexadecimal_digits():
    files = [file for entry in datasets.entries().values() for file in (entry, *(entry.files or ()))]
    checksums = [file.sha256 for file in files if file.sha256]
    assert len(checksums) == len(set(checksums)) >= 7
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums)


def test_the_data_sets_of_the_studies_are_there():
    assert datasets.entries().keys() >= {"flower_photos", "coco_animals", "cifar10", "cifar100"}
    assert datasets.entries().keys() >= {"oxford_flowers17", "oxford_flowers102"}


def test_the_five_lines_of_the_catalogs_own_example_are_an_entry():
    lines = [line.removeprefix("# ") for line in datasets.CATALOG.read_text(encoding="utf-8").splitlines()]
    start = lines.index("  NAME:")
    ((name, value),) = yaml.safe_load("\n".join(lines[start : start + 5])).items()
    assert (name, datasets.Entry.model_validate(value).classes) == ("NAME", 5)


def test_a_name_of_the_catalog_is_its_entry(tmp_path):
    assert datasets.find("digits", None, tmp_path).embedded == "sklearn.digits"


def test_a_name_of_the_catalog_comes_before_a_folder_of_that_name(tmp_path):
    (tmp_path / "digits").mkdir()
    assert not datasets.is_also_folder("digits", tmp_path / "elsewhere")
    assert isinstance(datasets.find("digits", None, tmp_path), datasets.Entry)
    assert datasets.is_also_folder("digits", tmp_path)


def test_a_folder_with_a_name_of_the_catalog_can_be_had_by_its_path(tmp_path):
    (tmp_path / "digits").mkdir()
    assert datasets.find("./digits", None, tmp_path) == tmp_path / "digits"
    assert not datasets.is_also_folder("./digits", tmp_path)
    assert datasets.entry_or_default("./digits") == datasets.Entry()


def test_a_folder_is_its_path_from_the_root(tmp_path):
    (tmp_path / "my photos").mkdir()
    assert datasets.find("my photos", None, tmp_path) == tmp_path / "my photos"


def test_an_absolute_path_is_itself(tmp_path):
    assert datasets.find(str(tmp_path), None, tmp_path / "elsewhere") == tmp_path


def test_a_path_may_start_at_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    assert datasets.find("~/photos", None, tmp_path / "elsewhere") == tmp_path / "photos"


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.gz", "a.ZIP"])
def test_an_archive_is_known_by_its_suffix(tmp_path, name):
    (tmp_path / name).touch()
    assert datasets.find(name, None, tmp_path) == tmp_path / name


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_is_an_entry_with_the_checksum_given(tmp_path, scheme):
    found = datasets.find(f"{scheme}://example.org/a.zip", CHECKSUM, tmp_path)
    assert (found.url, found.sha256) == (f"{scheme}://example.org/a.zip", CHECKSUM)


def test_an_address_without_a_checksum_is_refused(tmp_path):
    with pytest.raises(GraftError, match=r"^dataset: https://example.org/a.zip needs dataset_sha256 in params.yaml"):
        datasets.find("https://example.org/a.zip", None, tmp_path)


def test_another_kind_of_file_is_refused_with_the_kinds_that_would_do(tmp_path):
    (tmp_path / "photos.rar").touch()
    with pytest.raises(GraftError, match=r"^dataset: photos.rar is a file, but none of .tar, .tar.gz, .tgz, .zip$"):
        datasets.find("photos.rar", None, tmp_path)


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(GraftError, match=r"^dataset: flower_photo is no .* \(did you mean 'flower_photos'\?\)"):
        datasets.find("flower_photo", None, tmp_path)


def test_a_name_that_no_file_system_takes_is_one_line_with_the_key(tmp_path):
    with pytest.raises(GraftError, match=r"^dataset: 'x+\.\.\.x+' cannot be read: File name too long$"):
        datasets.find("x" * 300, None, tmp_path)


def test_a_home_folder_that_is_nobodys_is_one_line(tmp_path):
    with pytest.raises(GraftError, match="^dataset: ~nobody-of-that-name/photos: no such folder or archive; if "):
        datasets.find("~nobody-of-that-name/photos", None, tmp_path)


def test_a_path_that_leads_nowhere_is_one_line(tmp_path):
    with pytest.raises(GraftError, match="^dataset: /nowhere/flower_photo: no such folder or archive; if another "):
        datasets.find("/nowhere/flower_photo", None, tmp_path)
