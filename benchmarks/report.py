"""Writes benchmarks/RESULTS.md from the figures in benchmarks/results/: `python -m benchmarks.report`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.harness.sides import RESULTS

PAGE = RESULTS.parent / "RESULTS.md"
# In the order of the table; `make bench` runs them.
BENCHMARKS = (
    "extract",
    "new_images",
    "fine_tune_epoch",
    "learning_rate",
    "from_archive",
    "predict_start",
    "predict_many",
    "memory",
    "interpreters",
    "hub_features",
    "int8",
    "ray_workers",
)
# Beside the folders of the processors, with the name of its card.
GPU = "gpu"
# The words for the limit and for the figure, by the kind of a row.
KINDS = {
    "times": ("at least {:g} x faster", "{:.1f} x"),
    "share": ("at most {:.0%} of the time", "{:.1%}"),
    "distance": ("at most {:.0e}", "{:.1e}"),
    "mib": ("under {:.0f} MiB", "{:.0f} MiB"),
}
INTRODUCTION = """# What the benchmarks measured

`make bench` writes this page from benchmarks/results/; don't edit it by hand. benchmarks/NAME.py describes what each
side runs.

A pair is a run of each side, one after the other. "Measured" is the median of all pairs, with the least and the
largest. "Seconds" is the median of all runs and "peak memory" the largest, of a process with its children: Graft's
first, then the other side's. Both sides are new processes, without anything from an earlier run unless the claim names
it. The files that they read are in the system's cache. "Keras as it comes" leaves oneDNN to TensorFlow, which turns it
on for some processors only. Where it is off, Keras is also measured with it on (TF_ENABLE_ONEDNN_OPTS=1).

How much faster Graft is depends on the processor, because the two sides use it differently. Each measured processor has
a table.
"""
HEADER = """\
| claim | against | wanted | measured | pairs | seconds | peak memory, MiB |
|---|---|---:|---:|---:|---:|---:|
"""


def figure(row: dict) -> str:
    """Return the measured figure: the median, the least and the largest."""
    form = KINDS[row["kind"]][1]
    values = row["measured"]
    text = ("more than " if row["at_least"] else "") + form.format(median(values))
    if len(values) > 1:
        text += f" ({form.format(min(values))} to {form.format(max(values))})"
    return text


def wanted(row: dict) -> str:
    """Return the limit of a row, or a dash."""
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
    """Return the machine, images and weights of each benchmark; benchmarks that share them share a line."""
    groups: dict[str, list[str]] = {}
    for one in measured:
        machine, conditions = one["machine"], one["conditions"]
        setting = (
            f"{conditions['images']:,} images, {conditions['photographs']}, "
            f"weights of MobileNetV2 {conditions['weights']}; "
            + (f"{machine[GPU]}; " if GPU in machine else "")
            + f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
            + ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        )
        groups.setdefault(setting, []).append(one["benchmark"])
    return "".join(f"- {', '.join(names)}: {setting}\n" for setting, names in groups.items())


def section(name: str, measured: Sequence[dict]) -> str:
    """Return the part of RESULTS.md under a title, from the files of its benchmarks, in their order."""
    notes: list[str] = []
    lines = [line(row, notes) for one in measured for row in one["rows"]]
    numbered = "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    names = {one["benchmark"] for one in measured}
    absent = [name for name in BENCHMARKS if name not in names and GPU not in names]
    missing = f"Not measured here: {', '.join(absent)}.\n" if absent else ""
    paragraphs = [f"## {name}\n", HEADER + "".join(lines), numbered, missing, background(measured)]
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def title(one: dict) -> str:
    """Return the title of the section that has a benchmark: the GPU, or else the processor."""
    return one["machine"].get(GPU) or one["machine"]["processor"]


def page(measured: Sequence[dict]) -> str:
    """Return RESULTS.md from the files of all benchmarks: a section for each processor, and for a GPU."""
    by_processor: dict[str, list[dict]] = {}
    for one in measured:
        by_processor.setdefault(title(one), []).append(one)
    return "\n".join([INTRODUCTION, *(section(name, ones) for name, ones in by_processor.items())])


def read(folder: Path) -> list[dict]:
    """Return the files of the benchmarks, one processor after the other, in the table's order, then that of a GPU."""
    paths = [path / f"{name}.json" for path in sorted(folder.glob("*/")) for name in BENCHMARKS]
    paths.append(folder / f"{GPU}.json")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures (default: tracked one)")
    parser.add_argument("--page", type=Path, default=PAGE, help="what to write (default: RESULTS.md)")
    options = parser.parse_args()
    options.page.write_bytes(page(read(options.results)).encode("utf-8"))


if __name__ == "__main__":
    main()
