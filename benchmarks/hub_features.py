"""DINOv2-S at 224 pixels: images to features, Graft against KerasHub, and memory: `python -m benchmarks.hub_features`.

Graft: the stage `extract` in a process of its own, with a compiled network; `freeze` compiles it. KerasHub: a process
that reads the preset and runs `predict` on image_dataset_from_directory. Both are new processes, on the same
preset with random weights, and take the class token; tests/test_hub.py compares the features. Fine-tuning for an epoch
shows its memory.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import SIZE, Workspace, settings
from benchmarks.harness.results import Row

CLAIM = "DINOv2-S at 224, images to features.npy, empty store"
WITH_FREEZE = "the same with `freeze`, which compiles the network"
AGAINST = "KerasHub, image_dataset_from_directory + predict"
SIDE = "benchmarks.keras_side.hub_extraction"
WANTED_TIMES, WANTED_MIB = 1.5, 3072


class Sides:
    """Both sides, on the same images and the same preset."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self._folder, self._images, self._preset = folder, folder / "images", folder / "dinov2_small_random"
        photographs.bring(self._images, options)
        sides.python(SIDE, "--write", self._preset)
        changes = {"backbone": f"hub/{self._preset}", "weights": "imagenet", "pooling": "cls", "resize": "squash"}
        short = {"head__views": 0, "augment__views": 0, "fine_tune__epochs": 1, "fine_tune__batch_size": 16}
        self.workspace = Workspace(
            folder / "workspace", settings(self._images, None, image_size=SIZE) | changes | short
        )
        self.workspace.stages("resolve", "download", "split", "freeze")

    def extract(self) -> sides.Run:
        """Compute all features on an empty store."""
        (self.workspace.folder / "data/features/features.npy").unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as store:
            return self.workspace.stage("extract", Path(store))

    def freeze(self) -> sides.Run:
        """Compile the network."""
        return self.workspace.stage("freeze")

    def keras(self, variables: dict[str, str]) -> sides.Run:
        """Compute all features by KerasHub."""
        return sides.python(SIDE, self._preset, self._images, self._folder / "keras.npy", **variables)

    def fine_tune(self) -> sides.Run:
        """Train the last blocks for an epoch."""
        self.workspace.stages("extract", "train_head")
        return self.workspace.stage("fine_tune")


def rows_of(took: dict[str, list[sides.Run]]) -> list[Row]:
    """Return the rows of the table from the runs of each side."""
    extract, freeze = took["extract"], took["freeze"]
    both = [first.seconds + second.seconds for first, second in zip(freeze, extract, strict=True)]
    rows = []
    for name, seconds, wanted in ((CLAIM, [run.seconds for run in extract], WANTED_TIMES), (WITH_FREEZE, both, None)):
        for side in sorted(took.keys() - {"extract", "freeze", "fine_tune"}):
            theirs = took[side]
            measured = sides.ratios([run.seconds for run in theirs], seconds)
            against = AGAINST + sides.onednn_note(side)
            middles = [sorted(seconds)[len(seconds) // 2], sides.middle(theirs)]
            peaks = [sides.peak(extract), sides.peak(theirs)]
            rows.append(
                Row(
                    claim=name,
                    against=against,
                    kind="times",
                    wanted=wanted,
                    measured=measured,
                    seconds=middles,
                    peak_mib=peaks,
                )
            )
    memory = {name: sides.peak(took[name]) for name in ("freeze", "extract", "fine_tune")}
    return rows + [
        Row(claim=f"peak memory of {name}, DINOv2-S", against="-", kind="mib", wanted=WANTED_MIB, measured=[peak])
        for name, peak in memory.items()
    ]


def main() -> None:
    """Measure both sides in turn, and write the figures."""
    options = sides.parsed(sides.parser(__doc__, images=500))
    with tempfile.TemporaryDirectory() as name:
        both = Sides(Path(name), options)
        variants = {side: lambda variables=v: both.keras(variables) for side, v in sides.keras_sides().items()}
        took = sides.in_turn({"extract": both.extract, "freeze": both.freeze} | variants, options.pairs)
        took["fine_tune"] = [both.fine_tune()]
    results.write("hub_features", options, rows_of(took))


if __name__ == "__main__":
    main()
