"""Time and peak memory of single stages at 1e4, 1e5 and 1e6 images: `python -m benchmarks.scale --stage split`.

Each stage runs as `dvc repro` runs it, on synthetic inputs that `benchmarks.datasets.at_scale` writes before: so a
stage can be measured alone, and a run that was stopped goes on. What is measured is kept in measured.json of
`--folder`; each run writes all of it to benchmarks/results and prints it as a table. `--stage repro` measures a
`dvc repro` after which nothing is to be done, of the whole pipeline; `--stage repro-shards` with tar shards of a
thousand images instead of image files.

- download: of a folder of tiny JPEG files: reading, comparing and copying them, and writing the table.
- extract: all features are in the store already, so the network does not count. That is linear, and measured by
  `benchmarks.extract`.
- train_head: 64 features, no views, C and lda chosen by cross-validation.
- evaluate: a network of one layer, on a fifth of the images.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import results, sides
from benchmarks.harness.projects import Clone, Workspace, settings
from benchmarks.harness.results import Row

SIZES = (10_000, 100_000, 1_000_000)
# What is written before each stage, and the stages that run before it without being measured.
INPUTS = {
    "download": ["pictures"],
    "split": ["table"],
    "extract": ["table", "split", "store"],
    "inspect": ["table", "split", "features", "statistics", "raw"],
    "train_head": ["table", "split", "features"],
    "evaluate": ["table", "split", "features", "classifier"],
}
# What is measured of the whole pipeline, and what its data set is.
REPROS = {"repro": "pictures", "repro-shards": "shards"}
MOST_EXPONENT, MOST_GROWTH = 1.05, 1.2
Figures = dict[str, dict[str, dict[str, float]]]


def settings_of(images: int, folder: Path) -> dict[str, object]:
    """Return the changes of params.yaml."""
    # A store of any size: a limit would remove what was just written.
    return settings(folder / "pictures", None, backbone="simple_cnn", image_size=32, head__views=0)


def measured(stage: str, images: int, folder: Path) -> sides.Run:
    """Return what a stage takes; its inputs are written first."""
    workspace = Workspace(folder, settings_of(images, folder))
    variables = {"GRAFT_STORE": str(folder / "store"), "GRAFT_STORE_LIMIT": "1TB"}
    for kind in INPUTS[stage]:
        if kind != "split":
            sides.python("benchmarks.datasets.at_scale", kind, "--images", images, within=folder, **variables)
        elif not (folder / "data/classes.json").exists():
            workspace.stage("split")
    if stage == "download":
        source = folder / "data/source"
        if not source.is_symlink():
            source.symlink_to(folder / "pictures")
    return sides.python(f"stages.{stage}", within=folder, **variables)


def repro(images: int, folder: Path, kind: str) -> sides.Run:
    """Return what `dvc repro` takes when nothing has changed, with `pictures` or `shards`."""
    changes = settings_of(images, folder) | {
        "head__C": 0.01,
        "head__lda": 0,
        "fine_tune__epochs": 0,
        "export__model": "head",
        "export__test_resolution": 1,
    }
    folder.mkdir(parents=True, exist_ok=True)
    sides.python("benchmarks.datasets.at_scale", kind, "--images", images, within=folder)
    clone = Clone(folder / "clone", changes)
    first = clone.dvc("repro")
    print(f"  the first run: {first.seconds:.0f} s", flush=True)
    return clone.dvc("repro")


def rows_of(figures: Figures) -> Iterator[Row]:
    """Yield the lines of the results: each stage at each size, and what the two largest sizes say."""
    for stage, sizes in figures.items():
        counts = sorted(map(int, sizes))
        for count in counts:
            of = sizes[str(count)]
            yield Row(
                claim=f"{stage}, {count:,} images",
                against="-",
                kind="mib",
                wanted=None,
                measured=[of["peak_mib"]],
                seconds=[of["seconds"]],
                peak_mib=[of["peak_mib"]],
                note=f"{of['private_mib']:.0f} MiB without mapped files",
            )
        if len(counts) > 1:
            exponent, growth = trend(sizes, *counts[-2:])
            against = f"{counts[-2]:,} to {counts[-1]:,} images"
            yield Row(
                claim=f"{stage}: exponent of time", against=against, kind="exponent", wanted=MOST_EXPONENT,
                measured=[exponent],
            )  # fmt: skip
            yield Row(
                claim=f"{stage}: growth of peak memory", against=against, kind="growth", wanted=MOST_GROWTH,
                measured=[growth],
            )  # fmt: skip


def trend(sizes: dict[str, dict[str, float]], few: int, many: int) -> tuple[float, float]:
    """Return the exponent of the time between two sizes, and how many times as large the peak memory is."""
    first, second = sizes[str(few)], sizes[str(many)]
    exponent = math.log(second["seconds"] / first["seconds"]) / math.log(many / few)
    return exponent, second["peak_mib"] / first["peak_mib"]


def page(figures: Figures) -> str:
    """Return the figures as a table for docs/scale.md."""
    counts = sorted({int(count) for sizes in figures.values() for count in sizes})
    header = ["stage", *(f"{count:,} images" for count in counts), "exponent of time", "growth of memory"]
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    for stage, sizes in figures.items():
        cells = [
            f"{sizes[str(count)]['seconds']:.1f} s, {sizes[str(count)]['peak_mib']:.0f} MiB"
            if str(count) in sizes
            else "-"
            for count in counts
        ]
        own = sorted(map(int, sizes))
        exponent, growth = trend(sizes, *own[-2:]) if len(own) > 1 else (math.nan, math.nan)
        lines.append(f"| {' | '.join([stage, *cells, f'{exponent:.2f}', f'{growth:.2f}'])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write all figures so far."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stage", choices=(*INPUTS, *REPROS, "all"), default="all", help="(default %(default)s)")
    parser.add_argument("--images", type=int, nargs="+", default=SIZES, help="numbers of images (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("scale"), help="of inputs (default %(default)s)")
    parser.add_argument("--results", type=Path, default=sides.RESULTS, help="folder of the figures (default: tracked)")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "measured.json"
    figures: Figures = json.loads(kept.read_text()) if kept.exists() else {}
    for stage in (*INPUTS, *REPROS) if options.stage == "all" else [options.stage]:
        for images in options.images:
            sizes = figures.setdefault(stage, {})
            if str(images) in sizes and not options.again:
                continue
            within = folder / str(images)
            if kind := REPROS.get(stage):
                run = repro(images, within / stage, kind)
            else:
                run = measured(stage, images, within / stage)
            sizes[str(images)] = {name: getattr(run, name) for name in ("seconds", "peak_mib", "private_mib")}
            print(f"{stage}, {images:,} images: {run.seconds:.1f} s, {run.peak_mib:.0f} MiB", flush=True)
            beside = kept.with_suffix(".part")
            beside.write_text(json.dumps(figures, indent=2) + "\n")
            os.replace(beside, kept)
    options.archive = options.weights = None
    results.write("scale", options, list(rows_of(figures)))
    print(page(figures))


if __name__ == "__main__":
    main()
