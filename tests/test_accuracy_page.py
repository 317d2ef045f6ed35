"""docs/accuracy.md and docs/trials.csv: the page states no figure that the record of all trials does not have."""

import csv
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "accuracy.md").read_text(encoding="utf-8")
COLUMNS = [
    "row",
    "trial",
    "setting",
    "model",
    "data",
    "backbone",
    "size",
    "folds",
    "part",
    "right",
    "images",
    "accuracy",
    "loss",
    "seconds",
    "commit",
    "note",
]


def trials() -> list[dict[str, str]]:
    """Return the rows of docs/trials.csv."""
    with (DOCS / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TRIALS = {row["row"]: row for row in trials()}


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a Markdown text: lists of rows, each a list of cells; the first row is the header."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()] for table in found]


def numbers(text: str) -> set[str]:
    """Return the figures in a text, with no commas between thousands."""
    return set(re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)))


def quoted() -> list[object]:
    """Return each line of the page's tables that names rows of the record: its cells by the names of the columns."""
    cases = []
    for header, _, *lines in tables(PAGE):
        if header[-1] == "rows":
            cases += [pytest.param(dict(zip(header, cells, strict=True)), id=cells[0]) for cells in lines]
    return cases


# What a cell says of a measurement; the other columns say what was measured.
MEASURED = ("without", "with", "images", "test images", "head alone", "as exported", "right, of", "spread")


@pytest.mark.parametrize("line", quoted())
def test_each_figure_of_a_table_is_in_the_rows_that_it_names(line):
    rows = [TRIALS[number] for number in line["rows"].split(", ")]
    known = set().union(*(numbers(cell) for row in rows for name, cell in row.items() if name != "row"))
    shown = set().union(*(numbers(line.get(name, "")) for name in (*MEASURED, "calibration error")))
    assert shown
    assert shown <= known


def test_every_table_of_the_page_names_its_rows():
    assert [table[0][-1] for table in tables(PAGE)] == ["rows"] * 3


def test_every_trial_that_the_page_names_is_in_the_record():
    section = PAGE[PAGE.index("Tried and not kept") : PAGE.index("## Results")]
    names = {" ".join(name.split()) for name in re.findall(r'"([^"]+)"', section)}
    assert names
    assert names <= {re.sub(r" \(arXiv .*\)", "", row["trial"]) for row in TRIALS.values()}


def test_the_record_has_its_columns_and_its_rows_are_numbered():
    assert list(trials()[0]) == COLUMNS
    assert [row["row"] for row in trials()] == [str(number) for number in range(1, len(trials()) + 1)]


def test_every_trial_says_what_was_tried_on_what_and_has_a_figure():
    for row in TRIALS.values():
        assert all(row[name] for name in ("trial", "setting", "data")), row
        assert any(row[name] for name in ("right", "accuracy", "loss", "seconds")) or numbers(row["note"]), row


def test_counts_and_accuracies_of_a_trial_agree():
    for row in TRIALS.values():
        if row["right"] and row["images"]:
            accuracy = int(row["right"]) / int(row["images"])
            assert accuracy <= 1, row
            assert not row["accuracy"] or float(row["accuracy"]) == pytest.approx(accuracy, abs=0.0006), row
