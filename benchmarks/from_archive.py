"""From an archive to an evaluated fine-tuned classifier, everything cold: `python -m benchmarks.from_archive`.

Graft: `dvc repro` in a fresh clone of this repository at its last commit, with no cache and an empty store. Keras:
benchmarks/keras_two_step.py on the same images in the same parts. It runs whole once, until it first reaches Graft's
test accuracy: that says how many epochs it needs. Its second step may take more than its 30 epochs, until the script
has had ten times as long as Graft. How long epochs take is measured in pairs, Graft's whole run and the script's in
turn: of each of its two steps `--keras-epochs` epochs are run, and the others are counted as the median of those after
the first.

It takes hours and can be done in pieces: with `--state FOLDER` what was done is kept there, and the same command goes
on with it. `--side pairs` runs the pairs; `--side whole` a piece of the whole script, of `--minutes`. The figures are
written after each piece, and say so where the script has not reached the accuracy yet.
"""

import argparse
import itertools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import photographs, results, sides
from benchmarks.keras_two_step import reached
from benchmarks.learning_rate import EPOCHS, parts_of, step_seconds
from benchmarks.projects import Clone, settings
from benchmarks.results import Row

# What is claimed, and so how long the script may try.
TIMES = 10
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

    def pairs(self) -> list[dict]:
        """Return the pairs: {"graft": seconds, peak_mib, accuracy, images; each way to run Keras: log, peak_mib}."""
        return self._read("pairs.json", [])

    def whole(self, side: str) -> list[dict]:
        """Return the epochs of the script that is run whole."""
        return self._read(f"{folder_name(side)}/log.json", [])

    def whole_peak(self, side: str) -> float:
        """Return the largest memory of its pieces, in MiB."""
        return self._read(f"{folder_name(side)}.json", 0.0)

    @property
    def target(self) -> float:
        """The test accuracy to reach."""
        return median(pair["graft"]["accuracy"] for pair in self.pairs())

    def run_pair(self, variants: dict[str, dict[str, str]]) -> None:
        """Run the whole pipeline in a fresh clone, and the first epochs of the script's steps."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            pair = {"graft": self._graft(Path(name, "graft"))}
            for side, variables in variants.items():
                pair[side] = self._keras(Path(name, folder_name(side)), self._options.keras_epochs, variables)
                seconds = seconds_of(pair[side]["log"], {1: EPOCHS, 2: EPOCHS})
                print(f"  {side} {seconds / 60:.1f} minutes for {2 * EPOCHS} epochs", flush=True)
        self._write("pairs.json", [*self.pairs(), pair])

    def run_whole(self, side: str, variables: dict[str, str]) -> None:
        """Run a piece of the whole script."""
        limits = ["--target", self.target, "--fine-tune-epochs", self.fine_tune_epochs(side)]
        limits += ["--minutes", self._options.minutes] if self._options.minutes else []
        run = self._keras(self.folder / folder_name(side), EPOCHS, variables, limits)
        self._write(f"{folder_name(side)}.json", max(self.whole_peak(side), run["peak_mib"]))
        print(f"  {side}: {said(run['log'], self.target)}", flush=True)

    def fine_tune_epochs(self, side: str) -> int:
        """Return how many epochs the script's second step may take: its own, or those that make it `TIMES` as long."""
        return max(second_step(pair[side]["log"], TIMES * pair["graft"]["seconds"]) for pair in self.pairs())

    def _graft(self, folder: Path) -> dict:
        folder.mkdir()
        clone = Clone(folder, settings(self.archive, self._options.weights))
        run = clone.dvc("repro")
        figures = json.loads((clone.path / "metrics/accuracy.json").read_text())
        self._write("parts.json", parts_of(clone.path / "data/split.csv"))
        row = {"seconds": run.seconds, "peak_mib": run.peak_mib}
        row |= {"accuracy": figures["accuracy"], "images": figures["images"]}
        print(f"  graft {row['seconds']:.1f} s, {row['accuracy']:.4f} of {row['images']} test images", flush=True)
        return row

    def _keras(self, folder: Path, epochs: int, variables: dict[str, str], limits: Sequence[object] = ()) -> dict:
        arguments = [folder, "--archive", self.archive, "--parts", self.folder / "parts.json", "--epochs", epochs]
        arguments += ["--weights", self._options.weights] if self._options.weights else []
        run = sides.python("benchmarks.keras_two_step", *arguments, *limits, **variables)
        return {"log": json.loads((folder / "log.json").read_text()), "peak_mib": run.peak_mib}

    def _read(self, name: str, nothing: object) -> object:
        path = self.folder / name
        return json.loads(path.read_text()) if path.is_file() else nothing

    def _write(self, name: str, value: object) -> None:
        (self.folder / name).write_text(json.dumps(value))


def folder_name(side: str) -> str:
    """Return what the files of a way to run Keras are called."""
    return side.replace(", ", "_")


def epochs_needed(log: Sequence[dict], target: float) -> dict[int, int]:
    """Return how many epochs of each step the script took until it first reached the target, or so far."""
    hit = reached(log, target)
    rows = log[: log.index(hit) + 1] if hit else log
    return {step: sum(row["step"] == step for row in rows) for step in (1, 2)}


def seconds_of(log: Sequence[dict], epochs: dict[int, int]) -> float:
    """Return what the script takes for so many epochs of each step: start-up, all of them, and one evaluation."""
    evaluation = median(row["evaluation_seconds"] for row in log if "evaluation_seconds" in row)
    return log[0]["start"] + sum(step_seconds(log, *needed) for needed in epochs.items()) + evaluation


def second_step(log: Sequence[dict], seconds: float) -> int:
    """Return how many epochs of the second step, from `EPOCHS`, the whole script has in so many seconds, rounded up."""
    return next(count for count in itertools.count(EPOCHS) if seconds_of(log, {1: EPOCHS, 2: count}) >= seconds)


def said(log: Sequence[dict], target: float) -> str:
    """Return in words how far the script got."""
    hit = reached(log, target)
    if hit:
        return f"reached {hit['test_accuracy']:.4f} in epoch {hit['epoch']} of step {hit['step']}"
    best = max(row["test_accuracy"] for row in log)
    frozen, fine_tuned = (sum(row["step"] == step for row in log) for step in (1, 2))
    return f"not reached in {frozen} epochs frozen and {fine_tuned} fine-tuned; the best one had {best:.4f}"


def rows_of(state: State, variants: Sequence[str], epochs: int) -> list[Row]:
    """Return the lines of the table."""
    pairs, rows = state.pairs(), []
    own = [pair["graft"]["seconds"] for pair in pairs]
    for side in variants:
        if log := state.whole(side):
            theirs = [seconds_of(pair[side]["log"], epochs_needed(log, state.target)) for pair in pairs]
            rows.append(
                Row(
                    claim=CLAIM,
                    against=AGAINST + sides.said_of(side),
                    kind="times",
                    wanted=float(TIMES),
                    measured=sides.ratios(theirs, own),
                    seconds=[median(own), median(theirs)],
                    peak_mib=[
                        max(pair["graft"]["peak_mib"] for pair in pairs),
                        max(state.whole_peak(side), *(pair[side]["peak_mib"] for pair in pairs)),
                    ],
                    at_least=reached(log, state.target) is None,
                    note=f"Graft {state.target:.4f} of {pairs[0]['graft']['images']} test images; the script, run "
                    f"once: {said(log, state.target)}; in each pair {epochs} of {EPOCHS} epochs a step were run",
                )
            )
    return rows


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = sides.parser(__doc__)
    parser.add_argument("--state", type=Path, help="where what was done is kept (default: nowhere)")
    parser.add_argument("--side", choices=("pairs", "whole", "both"), default="both", help="(default %(default)s)")
    parser.add_argument("--minutes", type=float, help="stop each piece of the whole script after so many")
    parser.add_argument("--keras-epochs", type=int, default=3, help="of each step in a pair (default %(default)s)")
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
        variants = chosen_variants(options.onednn)
        while options.side != "whole" and len(state.pairs()) < options.pairs:
            state.run_pair(variants)
        for side, variables in variants.items():
            if options.side != "pairs":
                state.run_whole(side, variables)
        results.write("from_archive", options, rows_of(state, list(variants), options.keras_epochs))


if __name__ == "__main__":
    main()
