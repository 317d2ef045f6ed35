"""Another learning rate, `dvc exp run -S lr=...` against the Keras script: `python -m benchmarks.learning_rate`.

Graft: a fresh clone of this repository at its last commit, and `dvc repro` once, which does not count; then an
experiment for each pair, each with another rate. Keras: benchmarks/keras_side/two_step.py with the same rate. It counts
twice: as a whole, as if a user changed the rate at its top, and its second step alone, as if the model of the first had
been kept. Both sides use the same images in the same parts. In each pair, `--keras-epochs` epochs of each of the
script's two steps are run. Each of the others, up to 30, counts as the median of those after the first.
"""

import argparse
import csv
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import Clone, settings
from benchmarks.harness.results import Row

CLAIM = "`dvc exp run -S lr=...`, the second and later"
EPOCHS = 30
STAGES = ["fine_tune", "export", "evaluate", "describe"]


def step_seconds(rows: Sequence[dict], step: int, epochs: int = EPOCHS) -> float:
    """Return the seconds of so many epochs of a step: those of the log, and for others the median after the first."""
    seconds = [row["seconds"] for row in rows if row["step"] == step]
    return sum(seconds[:epochs]) + max(0, epochs - len(seconds)) * median(seconds[1:] or seconds)


def script_seconds(rows: Sequence[dict], steps: Sequence[int]) -> float:
    """Return the seconds of the Keras script with these of its steps: start-up, all epochs, one evaluation."""
    evaluation = median(row["evaluation_seconds"] for row in rows if "evaluation_seconds" in row)
    return rows[0]["start"] + sum(step_seconds(rows, step) for step in steps) + evaluation


class Keras:
    """The script of the other side, on unpacked images."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self._state = folder / "keras"
        self._options = options

    def unpack(self, archive: Path, split: Path) -> None:
        """Unpack an archive to the parts of Graft's split."""
        from benchmarks.keras_side.two_step import unpack

        unpack(archive, parts_of(split), self._state / "images")

    def run(self, learning_rate: float, variables: dict[str, str]) -> tuple[sides.Run, list[dict]]:
        """Run the script from its start; return its run and its log."""
        for path in [*self._state.glob("*.keras"), *self._state.glob("log.json")]:
            path.unlink()
        options = ["--epochs", self._options.keras_epochs, "--learning-rate", learning_rate]
        options += ["--weights", self._options.weights] if self._options.weights else []
        run = sides.python("benchmarks.keras_side.two_step", self._state, *options, **variables)
        return run, json.loads((self._state / "log.json").read_text())


def parts_of(split: Path) -> dict[str, str]:
    """Return the part of each image of a data/split.csv."""
    with split.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["split"] for row in csv.DictReader(file)}


def experiment(clone: Clone, learning_rate: float) -> sides.Run:
    """Run the pipeline with another learning rate; return its run.

    Raises
    ------
    RuntimeError
        If other stages ran than `STAGES`, which depend on the rate.
    """
    run = clone.dvc("exp", "run", "-S", f"lr={learning_rate}")
    stages = re.findall(r"^Running stage '(\w+)'", run.output, re.MULTILINE)
    if stages != STAGES:
        raise RuntimeError(f"dvc exp run -S lr={learning_rate} ran {stages}, not {STAGES}")
    return run


def rows_of(graft: Sequence[sides.Run], logs: dict[str, list[tuple[sides.Run, list[dict]]]], epochs: int) -> list[Row]:
    """Return the rows of the table from Graft's runs, and the runs and logs of the other side."""
    rows = []
    measured = "" if epochs == EPOCHS else f"; of {EPOCHS} epochs a step, {epochs} were run in each pair"
    for against, steps in (("the same change in the Keras script", (1, 2)), ("only the script's second step", (2,))):
        for side, ran in logs.items():
            seconds = [script_seconds(log, steps) for _, log in ran]
            rows.append(
                Row(
                    claim=CLAIM,
                    against=against + sides.onednn_note(side),
                    kind="times",
                    wanted=8.0 if steps == (1, 2) else None,
                    measured=sides.ratios(seconds, [run.seconds for run in graft]),
                    seconds=[sides.middle(graft), median(seconds)],
                    peak_mib=[sides.peak(graft), sides.peak([run for run, _ in ran])],
                    note=f"the script: {EPOCHS} epochs frozen, {EPOCHS} fine-tuned{measured}",
                )
            )
    return rows


def main() -> None:
    """Measure both sides in turn and write the figures after each pair."""
    parser = sides.parser(__doc__)
    parser.add_argument("--keras-epochs", type=int, default=3, help="run of each step (default %(default)s, all: 30)")
    options = sides.parsed(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs.bring(folder / "images", options)
        archive = photographs.packed(folder / "images", folder / "photographs.tar")
        shutil.rmtree(folder / "images")
        clone = Clone(folder / "clone", settings(archive, options.weights))
        print(f"  dvc repro {clone.dvc('repro').seconds:.1f} s (not counted)", flush=True)
        keras = Keras(folder, options)
        keras.unpack(archive, clone.path / "data/split.csv")
        variants = sides.keras_sides()
        graft, logs = [], {side: [] for side in variants}
        for pair in range(options.pairs):
            learning_rate = round(1e-4 * (1 + pair / 10), 6)
            graft.append(experiment(clone, learning_rate))
            print(f"  dvc exp run {graft[-1].seconds:.1f} s", flush=True)
            for side, variables in variants.items():
                logs[side].append(keras.run(learning_rate, variables))
                both, second = (script_seconds(logs[side][-1][1], steps) for steps in ((1, 2), (2,)))
                print(f"  {side} {both:.0f} s, second step alone {second:.0f} s", flush=True)
            results.write("learning_rate", options, rows_of(graft, logs, options.keras_epochs))


if __name__ == "__main__":
    main()
