"""The settings that the tests start from, in parameters.yaml: params.yaml of the repository is the user's."""

import copy
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("parameters.yaml")
VALUES = yaml.safe_load(FILE.read_text(encoding="utf-8"))


def changed(values: dict, **changes: object) -> dict:
    """Return a copy of settings with these changes, `section__key=value` inside a section."""
    values = copy.deepcopy(values)
    for name, value in changes.items():
        *sections, key = name.split("__")
        part = values
        for section in sections:
            part = part[section]
        part[key] = value
    return values
