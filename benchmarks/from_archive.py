"""From an archive to an evaluated fine-tuned classifier, everything cold: `python -m benchmarks.from_archive`.

Graft: `dvc repro` in a fresh clone of this repository at its last commit, with no cache and an empty store. Keras:
benchmarks/keras_side/two_step.py on the same images in the same parts. The script runs to its end once, until it first
reaches Graft's test accuracy: this gives the number of epochs that it needs. Its second step may take more than 30
epochs, until the script has had ten times as long as Graft. The time of an epoch is measured in pairs, Graft's whole
run and the script in turn. In each pair, `--keras-epochs` epochs of each of its two steps are run. Each of the others
counts as the median of those after the first.

It takes hours, and can be done in pieces: `--state FOLDER` keeps the state there, and the same command goes on.
`--side pairs` runs the pairs. `--side whole` runs a piece of the whole script, of `--minutes`. Each piece writes the
figures, with a note where the script has not reached the accuracy yet.
"""

import argparse
import itertools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import Clone, settings
from benchmarks.harness.results import Row
from benchmarks.keras_side.two_step import reached
from benchmarks.learning_rate import EPOCHS, parts_of, step_seconds

# The claim, and how many times as long as Graft the script may take.
TIMES = 10
CLAIM = "archive to evaluated fine-tuned classifier, everything cold"
AGAINST = "the two-step Keras script until it first reaches the same test accuracy"


class State:
    """The pairs and pieces so far, in a folder."""

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
        """Return the epochs so far of the script that runs to its end."""
        return self._read(f"{folder_name(side)}/log.json", [])

    def whole_peak(self, side: str) -> float:
        """Return the peak memory of its pieces, in MiB."""
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
        print(f"  {side}: {outcome(run['log'], self.target)}", flush=True)

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
        run = sides.python("benchmarks.keras_side.two_step", *arguments, *limits, **variables)
        return {"log": json.loads((folder / "log.json").read_text()), "peak_mib": run.peak_mib}

    def _read(self, name: str, nothing: object) -> object:
        path = self.folder / name
        return json.loads(path.read_text()) if path.is_file() else nothing

    def _write(self, name: str, value: object) -> None:
        (self.folder / name).write_text(json.dumps(value))


def folder_name(side: str) -> str:
    """Return the name of the files of a way to run Keras."""
    return side.replace(", ", "_")


def epochs_needed(log: Sequence[dict], target: float) -> dict[int, int]:
    """Return the epochs of each step until the script first reached the target, or all epochs so far."""
    hit = reached(log, target)
    rows = log[: log.index(hit) + 1] if hit else log
    return {step: sum(row["step"] == step for row in rows) for step in (1, 2)}


def seconds_of(log: Sequence[dict], epochs: dict[int, int]) -> float:
    """Return the seconds of the script for so many epochs of each step: start-up, the epochs, and one evaluation."""
    evaluation = median(row["evaluation_seconds"] for row in log if "evaluation_seconds" in row)
    return log[0]["start"] + sum(step_seconds(log, *needed) for needed in epochs.items()) + evaluation


def second_step(log: Sequence[dict], seconds: float) -> int:
    """Return how many epochs of the second step, `EPOCHS` or more, make the whole script take at least `seconds`."""
    return next(count for count in itertools.count(EPOCHS) if seconds_of(log, {1: EPOCHS, 2: count}) >= seconds)


def outcome(log: Sequence[dict], target: float) -> str:
    """Return the script's accuracy and epochs in words."""
    hit = reached(log, target)
    if hit:
        return f"reached {hit['test_accuracy']:.4f} in epoch {hit['epoch']} of step {hit['step']}"
    best = max(row["test_accuracy"] for row in log)
    frozen, fine_tuned = (sum(row["step"] == step for row in log) for step in (1, 2))
    return f"not reached in {frozen} epochs frozen and {fine_tuned} fine-tuned; the best one had {best:.4f}"


def rows_of(state: State, variants: Sequence[str], epochs: int) -> list[Row]:
    """Return the rows of the table."""
    pairs, rows = state.pairs(), []
    own = [pair["graft"]["seconds"] for pair in pairs]
    for side in variants:
        if log := state.whole(side):
            theirs = [seconds_of(pair[side]["log"], epochs_needed(log, state.target)) for pair in pairs]
            rows.append(
                Row(
                    claim=CLAIM,
                    against=AGAINST + sides.onednn_note(side),
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
                    f"once: {outcome(log, state.target)}; in each pair {epochs} of {EPOCHS} epochs a step were run",
                )
            )
    return rows


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = sides.parser(__doc__)
    parser.add_argument("--state", type=Path, help="folder that keeps the state (default: none)")
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
    """Do the remaining work, or a piece of it, and write the figures."""
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
