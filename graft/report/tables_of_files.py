"""Tables for the page from JSON and CSV files whose keys the page need not know."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST_ROWS = 200
# An en dash.
NOTHING = "\u2013"


def text(value: Any) -> str:
    """Return a value as people write it: numbers with at most four digits after the point."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(text, value)) or NOTHING
    return str(value)


def title(key: str) -> str:
    """Return a key as words."""
    return key.replace("_", " ").replace(".", ": ", 1)


def table_of_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for each value, named by its key as it stands in the file, such as fine_tune.epochs."""
    return {"columns": [], "rows": [[key, text(value)] for key, value in _flat(content)], "left_out": 0}


def table_of(content: Any) -> dict[str, Any]:
    """Return the columns and rows of the content of a JSON file.

    A list of objects, or an object of objects that have the same keys, has a row for each; else each value has a row,
    named by its key.
    """
    if (
        isinstance(content, Sequence)
        and not isinstance(content, str)
        and all(isinstance(one, Mapping) for one in content)
    ):
        return table_of_rows(content)
    if isinstance(content, Mapping):
        values = list(content.values())
        alike = all(isinstance(one, Mapping) for one in values) and len({tuple(one) for one in values}) == 1
        if (
            alike
            and len(values) > 1
            and not any(isinstance(value, Mapping) for one in values for value in one.values())
        ):
            return table_of_rows([{"name": key, **one} for key, one in content.items()])
    rows = [[title(key), text(value)] for key, value in _flat(content)]
    return {"columns": [], "rows": rows[:MOST_ROWS], "left_out": max(0, len(rows) - MOST_ROWS)}


def table_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns and rows of objects, in the order of the keys."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    shown = [[text(row.get(key)) for key in keys] for row in rows[:MOST_ROWS]]
    return {"columns": [title(key) for key in keys], "rows": shown, "left_out": max(0, len(rows) - MOST_ROWS)}


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flat(value, f"{prefix}{'.' if prefix else ''}{key}")
    else:
        yield prefix, content
