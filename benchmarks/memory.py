"""Peak memory of extract, train_head and fine_tune at two numbers of images: `python -m benchmarks.memory`.

The stages run as they do in the pipeline, from an empty store, at `--images` and at ten times as many. The larger set
is ten copies of each image. A few bytes after the end of the JPEG make them different files for the store and for DVC.
Memory is that of the stage's process with its children: all resident memory, and that without mapped files.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import Workspace, settings
from benchmarks.harness.results import Row

TIMES = 10
WANTED_MIB = 2048
STAGES = ("extract", "train_head", "fine_tune")


def measured(folder: Path, images: Path, options: argparse.Namespace) -> dict[str, sides.Run]:
    """Return what each stage took on a folder of images."""
    # More epochs would take more time, but no more memory.
    changes = settings(images, options.weights, fine_tune__epochs=options.epochs)
    workspace = Workspace(folder, changes)
    workspace.stages("resolve", "download", "split", "freeze")
    took = {}
    for name in STAGES:
        run = took[name] = workspace.stage(name)
        print(f"  {name}: {run.peak_mib:.0f} MiB, without mapped files {run.private_mib:.0f}", flush=True)
    return took


def rows_of(took: dict[int, dict[str, sides.Run]]) -> list[Row]:
    """Return the lines of the table: each stage's peak at each number of images."""
    fewest = min(took)
    return [
        Row(
            claim=f"peak memory of {stage}, {count:,} images",
            against="-"
            if count == fewest
            else f"{runs[stage].peak_mib / took[fewest][stage].peak_mib:.2f} times that of {fewest:,} images",
            kind="mib",
            wanted=WANTED_MIB,
            measured=[runs[stage].peak_mib],
            note=f"{runs[stage].private_mib:.0f} MiB without mapped files",
        )
        for stage in STAGES
        for count, runs in sorted(took.items())
    ]


def main() -> None:
    """Measure both sizes and write the figures."""
    parser = sides.parser(__doc__, pairs=1)
    parser.add_argument("--epochs", type=int, default=1, help="of fine-tuning (default %(default)s)")
    parser.add_argument("--once", action="store_true", help="only the smaller number of images")
    options = sides.parsed(parser)
    took = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = photographs.bring(folder / "images", options)
        took[len(paths)] = measured(folder / "few", folder / "images", options)
        results.write("memory", options, rows_of(took))
        if not options.once:
            photographs.copies(paths, folder / "copies", TIMES)
            took[len(paths) * TIMES] = measured(folder / "many", folder / "copies", options)
            results.write("memory", options, rows_of(took))


if __name__ == "__main__":
    main()
