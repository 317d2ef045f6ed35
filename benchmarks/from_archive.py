"""From an archive to an evaluated fine-tuned classifier, everything cold: `python -m benchmarks.from_archive`.

Graft: `dvc repro` in a fresh clone of this repository at its last commit, with no cache and an empty store. Keras:
benchmarks/keras_two_step.py on the same images in the same parts, until it first reaches Graft's test accuracy or has
run all its 60 epochs.

It takes hours and can be done in pieces: with `--state FOLDER` what was done is kept there, and the same command goes
on with it. `--side graft` runs Graft's `--pairs` runs, one at a time; `--side keras` a piece of the Keras script, of
`--minutes`. The figures are written after each piece, and say so where the script has not reached the accuracy yet.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import photographs, results, sides
from benchmarks.keras_two_step import reached
from benchmarks.learning_rate import EPOCHS, parts_of
from benchmarks.projects import Clone, settings
from benchmarks.results import Row

CLAIM = "archive to evaluated fine-tuned classifier, everything cold"
AGAINST = "the two-step Keras script until it first reaches the same test accuracy"


class State:
    """What was done so far, in a folder."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.folder = folder
        self.archive = folder / "photographs.tar"
        self._options = options
        folder.mkdir(parents=True, exist_ok=True)
        if not self.archive.is_file():
            photographs.bring(folder / "images", options)
            photographs.packed(folder / "images", folder / "part.tar").rename(self.archive)
            shutil.rmtree(folder / "images")

    def graft(self) -> list[dict]:
        """Return the runs of Graft: seconds, peak_mib, accuracy, images."""
        path = self.folder / "graft.json"
        return json.loads(path.read_text()) if path.is_file() else []

    def keras(self, side: str) -> list[dict]:
        """Return the epochs of the Keras script."""
        path = self.folder / side.replace(", ", "_") / "log.json"
        return json.loads(path.read_text()) if path.is_file() else []

    @property
    def target(self) -> float:
        """The test accuracy to reach."""
        return median(run["accuracy"] for run in self.graft())

    def run_graft(self) -> None:
        """Run the whole pipeline in a fresh clone, once."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            clone = Clone(Path(name), settings(self.archive, self._options.weights))
            run = clone.dvc("repro")
            figures = json.loads((clone.path / "metrics/accuracy.json").read_text())
            (self.folder / "parts.json").write_text(json.dumps(parts_of(clone.path / "data/split.csv")))
        row = {"seconds": run.seconds, "peak_mib": run.peak_mib}
        row |= {"accuracy": figures["accuracy"], "images": figures["images"]}
        (self.folder / "graft.json").write_text(json.dumps([*self.graft(), row]))
        print(f"  graft {row['seconds']:.1f} s, {row['accuracy']:.4f} of {row['images']} test images", flush=True)

    def run_keras(self, side: str, variables: dict[str, str]) -> None:
        """Run a piece of the Keras script."""
        options = self._options
        arguments = [self.folder / side.replace(", ", "_"), "--archive", self.archive]
        arguments += ["--parts", self.folder / "parts.json", "--target", self.target, "--epochs", options.keras_epochs]
        arguments += ["--weights", options.weights] if options.weights else []
        arguments += ["--minutes", options.minutes] if options.minutes else []
        run = sides.python("benchmarks.keras_two_step", *arguments, **variables)
        peaks = self.folder / f"{side.replace(', ', '_')}.json"
        before = json.loads(peaks.read_text()) if peaks.is_file() else 0.0
        peaks.write_text(json.dumps(max(before, run.peak_mib)))
        log = self.keras(side)
        print(f"  {side}: {said(log, self.target, options.keras_epochs)}", flush=True)

    def peak(self, side: str) -> float:
        """Return the largest memory of the pieces, in MiB."""
        return json.loads((self.folder / f"{side.replace(', ', '_')}.json").read_text())


def keras_seconds(log: Sequence[dict], target: float) -> float:
    """Return the script's seconds until it first reached the target, or so far, with one evaluation."""
    row = reached(log, target) or log[-1]
    return row["cumulative"] + median(row["evaluation_seconds"] for row in log)


def said(log: Sequence[dict], target: float, epochs: int) -> str:
    """Return in words how far the script got."""
    hit = reached(log, target)
    minutes = keras_seconds(log, target) / 60
    if hit:
        where = f"epoch {hit['epoch']} of step {hit['step']}"
        return f"reached {hit['test_accuracy']:.4f} in {where}, {minutes:.1f} minutes"
    best = max(row["test_accuracy"] for row in log)
    return f"not reached after {minutes:.1f} minutes, {len(log)} of {2 * epochs} epochs; the best epoch had {best:.4f}"


def rows_of(state: State, variants: Sequence[str], epochs: int) -> list[Row]:
    """Return the lines of the table."""
    graft = state.graft()
    own = [run["seconds"] for run in graft]
    rows = []
    for side in variants:
        if log := state.keras(side):
            theirs = keras_seconds(log, state.target)
            rows.append(
                Row(
                    claim=CLAIM,
                    against=AGAINST + sides.said_of(side),
                    kind="times",
                    wanted=10.0,
                    measured=[theirs / seconds for seconds in own],
                    seconds=[median(own), theirs],
                    peak_mib=[max(run["peak_mib"] for run in graft), state.peak(side)],
                    at_least=reached(log, state.target) is None,
                    note=f"Graft {state.target:.4f} of {graft[0]['images']} test images; the script, one run: "
                    + said(log, state.target, epochs),
                )
            )
    return rows


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = sides.parser(__doc__)
    parser.add_argument("--state", type=Path, help="where what was done is kept (default: nowhere)")
    parser.add_argument("--side", choices=("graft", "keras", "both"), default="both", help="(default %(default)s)")
    parser.add_argument("--minutes", type=float, help="stop each piece of the Keras script after so many")
    parser.add_argument("--keras-epochs", type=int, default=EPOCHS, help="of each step (default %(default)s)")
    parser.add_argument("--onednn", choices=("default", "on", "both"), default="both", help="of the Keras side")
    return sides.parsed(parser)


def chosen_variants(onednn: str) -> dict[str, dict[str, str]]:
    """Return the ways to run Keras that `--onednn` names; where it is on by default, there is one."""
    variants = sides.keras_sides()
    kept = {"default": list(variants)[:1], "on": list(variants)[-1:], "both": list(variants)}[onednn]
    return {side: variants[side] for side in kept}


def main() -> None:
    """Do what is left to do, or a piece of it, and write the figures."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        state = State(options.state.resolve() if options.state else Path(temporary), options)
        while options.side != "keras" and len(state.graft()) < options.pairs:
            state.run_graft()
        variants = chosen_variants(options.onednn)
        if options.side != "graft":
            for side, variables in variants.items():
                state.run_keras(side, variables)
                results.write("from_archive", options, rows_of(state, list(sides.keras_sides()), options.keras_epochs))


if __name__ == "__main__":
    main()
