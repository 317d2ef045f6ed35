"""`graft predict` on many images, with all CPUs and with one: `python -m benchmarks.predict_many`.

The classifier is a MobileNetV2 with five classes, as `export` compiles it. Both sides are the same command; taskset
gives the second one a single CPU, and so a single thread. Each image is classified `TIMES` times, and the peak memory
is compared with that of one time.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.results import Row
from graft.core.threads import usable_cpus

TIMES = 10
# Of the ideal, the number of CPUs.
WANTED_SHARE = 0.9


def predict(folder: Path, times: int, one_cpu: bool) -> sides.Run:
    """Run the command on the images, each `times` times."""
    command = [sys.executable, "-m", "graft", "predict", "--csv", "--top", "1", *[folder / "images"] * times]
    if one_cpu:
        command = [shutil.which("taskset"), "-c", str(min(os.sched_getaffinity(0))), *command]
    run = sides.run(command, within=folder, PYTHONPATH=str(sides.ROOT))
    found, images = run.output.count("\n") - 1, times * len(list((folder / "images").rglob("*.jpg")))
    if found != images:
        sys.exit(f"{found} of {images} images were classified:\n{run.output[-2000:]}")
    return run


def main() -> None:
    """Measure both sides in turn and write the figures."""
    options = sides.parsed(sides.parser(__doc__, images=1000))
    if shutil.which("taskset") is None:
        sys.exit("taskset is not installed; it belongs to util-linux")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs.bring(folder / "images", options)
        sides.python("benchmarks.predict_start", "--write-classifiers", folder, options.weights or "none")
        once = predict(folder, 1, one_cpu=False)
        calls = {
            "all CPUs": lambda: predict(folder, TIMES, one_cpu=False),
            "one CPU": lambda: predict(folder, TIMES, one_cpu=True),
        }
        took = sides.in_turn(calls, options.pairs)
    count = TIMES * options.images
    rows = [
        Row(
            claim=f"predict on {count:,} images, {usable_cpus()} CPUs",
            against="the same with one CPU",
            kind="times",
            wanted=WANTED_SHARE * usable_cpus(),
            measured=sides.ratios(*([run.seconds for run in took[side]] for side in ("one CPU", "all CPUs"))),
            seconds=[sides.middle(took[side]) for side in ("all CPUs", "one CPU")],
            peak_mib=[sides.peak(took[side]) for side in ("all CPUs", "one CPU")],
        ),
        Row(
            claim=f"peak memory of predict, {count:,} images",
            against=f"{sides.peak(took['all CPUs']) / once.peak_mib:.2f} times that of {options.images:,} images",
            kind="mib",
            wanted=None,
            measured=[sides.peak(took["all CPUs"])],
        ),
    ]
    results.write("predict_many", options, rows)


if __name__ == "__main__":
    main()
