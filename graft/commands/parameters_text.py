"""The text of params.yaml with other values: only the lines of these keys change, comments stay."""

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from graft.core.errors import GraftError
from graft.settings.yaml_file import parse_yaml


def value_of(values: Any, key: str) -> Any:
    """Return the value of a dotted key such as ``fine_tune.epochs``; None where there is none."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def with_values(text: str, changes: Mapping[str, str], source: str) -> str:
    """Return a YAML text with other values of some keys.

    Parameters
    ----------
    text : the YAML, with each of these keys.
    changes : values by dotted key, as they are to stand in the text on one line; "" for none.
    source : the file, for the error message.

    Raises
    ------
    GraftError
        If the text is not YAML, or lacks a key, or a key can't be changed alone.
    """
    before = parse_yaml(text, source)
    root = yaml.compose(text, yaml.SafeLoader)
    changed = text
    # From the end, so that the places before it stay right.
    for (start, end), key in sorted(((_place(text, root, key, source), key) for key in changes), reverse=True):
        changed = changed[:start] + (changes[key] and f" {changes[key]}") + changed[end:]
    expected = copy.deepcopy(before)
    for key, value in changes.items():
        *sections, name = key.split(".")
        section: Any = value_of(expected, ".".join(sections)) if sections else expected
        section[name] = _parsed(value, key)
    after = _parsed(changed, source)
    if after != expected:
        key = next((key for key in changes if value_of(after, key) != value_of(expected, key)), next(iter(changes)))
        raise GraftError(f"{source}: {key} is not on a line of its own; write `{_line(key, changes[key])}` there")
    return changed


def _line(key: str, value: str) -> str:
    return f"{key.rsplit('.', maxsplit=1)[-1]}: {value}".rstrip()


def _parsed(text: str, source: str) -> Any:
    """Return the value of a YAML text, or None if it is no YAML."""
    try:
        return parse_yaml(text, source)
    except GraftError:
        return None


def _place(text: str, root: yaml.Node | None, key: str, source: str) -> tuple[int, int]:
    """Return where in the text the value of a key is: the places after the key's colon and after the value."""
    node, start = root, 0
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((pair for pair in pairs if pair[0].value == name), None)
        if found is None:
            raise GraftError(f"{source}: the key {key} is missing; params.yaml of the repository has every key")
        name_node, node = found
        start = text.index(":", name_node.end_mark.index) + 1
    return start, max(start, _end(node))


def _end(node: yaml.Node | None) -> int:
    """Return the place after the last character of a value.

    PyYAML's own mark is behind the comments that follow a block of lines, such as a list with `-`.
    """
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index) if node else 0
