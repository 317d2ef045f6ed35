"""docs/licences.md lists every package, and every data set of the catalog, with its licence."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

from graft.settings import datasets

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROWS = {row[0]: row[1] for row in re.findall(r"^\| (\S+) \| ([^|]+) \|", PAGE, re.MULTILINE)}


def names(requirements):
    return {re.split(r"[\[ >=<;]", requirement)[0] for requirement in requirements} - {"graft"}


DEPENDENCIES = names(PROJECT["dependencies"])


def test_every_direct_dependency_has_a_row():
    assert ROWS.keys() >= DEPENDENCIES


@pytest.mark.parametrize("name", sorted(DEPENDENCIES))
def test_the_licence_is_the_one_that_the_package_states(name):
    stated = metadata(name)
    classifiers = [text for text in stated.get_all("Classifier") or [] if text.startswith("License ::")]
    text = " ".join([stated.get("License-Expression") or "", (stated.get("License") or "")[:200], *classifiers])
    known = {"Apache": "Apache", "BSD": "BSD", "MPL": "MPL", "MIT": "MIT", "matplotlib": "PSF"}
    kinds = {kind for word, kind in known.items() if word in text}
    # Some packages state it in a file only.
    assert not kinds or any(kind in ROWS[name] for kind in kinds)


def test_every_package_for_developers_is_named():
    optional = set().union(*map(names, PROJECT["optional-dependencies"].values()))
    assert {name for name in optional if not re.search(rf"\b{re.escape(name)}\b", PAGE)} == set()


def test_every_data_set_has_its_licence():
    assert {name: ROWS.get(name) for name in datasets.entries()} == {
        name: entry.licence for name, entry in datasets.entries().items()
    }
