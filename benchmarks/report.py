"""Writes benchmarks/RESULTS.md from the figures in benchmarks/results/: `python -m benchmarks.report`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.sides import RESULTS

PAGE = RESULTS.parent / "RESULTS.md"
# In the order of the table; the Makefile runs them.
BENCHMARKS = (
    "extract",
    "new_images",
    "fine_tune_epoch",
    "learning_rate",
    "from_archive",
    "predict_start",
    "memory",
    "interpreters",
)
# How a figure and what is wanted of it are said.
KINDS = {
    "times": ("at least {:g} x faster", "{:.1f} x"),
    "share": ("at most {:.0%} of the time", "{:.1%}"),
    "distance": ("at most {:.0e}", "{:.1e}"),
    "mib": ("under {:.0f} MiB", "{:.0f} MiB"),
}
INTRODUCTION = """# What the benchmarks measured

Written by `make bench` from benchmarks/results/; don't edit it by hand. benchmarks/NAME.py says what is run on either
side.

Measured is the median of all pairs, with the least and the largest of them; a pair is a run of each side, one after the
other. Seconds and peak memory are Graft's, then the other side's: the median and the largest of all runs, of a process
with its children. Both sides are new processes with nothing kept from before, but for what the claim says; the files
that they read are in the system's cache. "Keras as it comes" leaves oneDNN to TensorFlow, which turns it on for some
processors and not for others; where it is off, Keras is measured with it on (TF_ENABLE_ONEDNN_OPTS=1) too.

How much faster Graft is depends on the processor, for the two sides use it differently: there is a table for each that
was measured.
"""
HEADER = """\
| claim | against | wanted | measured | pairs | seconds | peak memory, MiB |
|---|---|---:|---:|---:|---:|---:|
"""


def figure(row: dict) -> str:
    """Return what was measured: the median, and between which figures it lies."""
    form = KINDS[row["kind"]][1]
    values = row["measured"]
    text = ("more than " if row["at_least"] else "") + form.format(median(values))
    if len(values) > 1:
        text += f" ({form.format(min(values))} to {form.format(max(values))})"
    return text


def wanted(row: dict) -> str:
    """Return the bound that is wanted, or a dash."""
    return "-" if row["wanted"] is None else KINDS[row["kind"]][0].format(row["wanted"])


def line(row: dict, notes: list[str]) -> str:
    """Return a line of the table; a note goes to the end of `notes`, and its number into the line."""
    mark = ""
    if row["note"]:
        if row["note"] not in notes:
            notes.append(row["note"])
        mark = f" ({notes.index(row['note']) + 1})"
    cells = [row["claim"], row["against"], wanted(row), figure(row) + mark, len(row["measured"])]
    cells += [_several(row["seconds"], "{:.1f}"), _several(row["peak_mib"], "{:.0f}")]
    return f"| {' | '.join(map(str, cells))} |\n"


def _several(values: Sequence[float], form: str) -> str:
    return " / ".join(form.format(value) for value in values) or "-"


def background(measured: Sequence[dict]) -> str:
    """Return which benchmarks ran where and with what; those that share it share a line."""
    groups: dict[str, list[str]] = {}
    for one in measured:
        machine, conditions = one["machine"], one["conditions"]
        said = (
            f"{conditions['images']:,} images, {conditions['photographs']}, "
            f"weights of MobileNetV2 {conditions['weights']}; "
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
            + ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        )
        groups.setdefault(said, []).append(one["benchmark"])
    return "".join(f"- {', '.join(names)}: {said}\n" for said, names in groups.items())


def section(title: str, measured: Sequence[dict]) -> str:
    """Return the part of RESULTS.md on one processor: what benchmarks have measured there, in the order given."""
    notes: list[str] = []
    lines = [line(row, notes) for one in measured for row in one["rows"]]
    numbered = "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    absent = [name for name in BENCHMARKS if name not in {one["benchmark"] for one in measured}]
    missing = f"Not measured here: {', '.join(absent)}.\n" if absent else ""
    paragraphs = [f"## {title}\n", HEADER + "".join(lines), numbered, missing, background(measured)]
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def page(measured: Sequence[dict]) -> str:
    """Return RESULTS.md of what benchmarks have measured: a section for each processor."""
    by_processor: dict[str, list[dict]] = {}
    for one in measured:
        by_processor.setdefault(one["machine"]["processor"], []).append(one)
    return "\n".join([INTRODUCTION, *(section(title, ones) for title, ones in by_processor.items())])


def read(folder: Path) -> list[dict]:
    """Return what the benchmarks wrote, processor by processor, in the table's order."""
    paths = [path / f"{name}.json" for path in sorted(folder.glob("*/")) for name in BENCHMARKS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def main() -> None:
    """Write the page anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures (default: tracked one)")
    parser.add_argument("--page", type=Path, default=PAGE, help="what to write (default: RESULTS.md)")
    options = parser.parse_args()
    options.page.write_bytes(page(read(options.results)).encode("utf-8"))


if __name__ == "__main__":
    main()
