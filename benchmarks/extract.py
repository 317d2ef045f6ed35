"""Images to features.npy with an empty store, Graft against Keras: `python -m benchmarks.extract`.

Graft: the stage `extract` in a process of its own, with a compiled backbone; also measured is `freeze`, which compiles
it. Keras: a process that builds the network and runs `predict` on image_dataset_from_directory. Both are new processes,
and the image files are in the system's cache for both. The features are compared on the same pixels: Keras resizes in
another way than Pillow, so that Keras gets the images of Graft's loader. That needs `--weights`, because without it
each process has other random weights.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import SIZE, Workspace, settings
from benchmarks.harness.results import Row

CLAIM = "images to features.npy, empty store"
AGAINST = "image_dataset_from_directory + model.predict"
WITH_FREEZE = "the same with `freeze`, which compiles the network"
FEATURES = "data/features/features.npy"
BATCH_SIZE = 32
RESIZE = "squash"


def differences(workspace: Path, weights: str) -> tuple[float, float]:
    """Return the relative L2 distance of Graft's features to Keras's: over all images, and of the worst image."""
    from benchmarks.keras_side.extraction import network
    from graft.core.files import read_rows
    from graft.images import loader

    paths = [workspace / "data/raw" / row["path"] for row in read_rows(workspace / "data/split.csv")]
    ours = np.load(workspace / FEATURES, mmap_mode="r")
    model = network(weights)
    squares, norms = [], []
    for start in range(0, len(paths), BATCH_SIZE):
        batch = np.stack([loader.load(path, SIZE, RESIZE) for path in paths[start : start + BATCH_SIZE]])
        theirs = model.predict_on_batch(batch.astype(np.float32))
        squares.append(((ours[start : start + BATCH_SIZE] - theirs) ** 2).sum(axis=1, dtype=np.float64))
        norms.append((theirs**2).sum(axis=1, dtype=np.float64))
    difference, norm = np.concatenate(squares), np.concatenate(norms)
    return float(np.sqrt(difference.sum() / norm.sum())), float(np.sqrt((difference / norm).max()))


class Sides:
    """Both sides, on the same images."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.images = folder / "images"
        photographs.bring(self.images, options)
        # Resized as image_dataset_from_directory does it, and without views.
        same = settings(self.images, options.weights, resize=RESIZE, head__views=0)
        self.workspace = Workspace(folder / "workspace", same)
        self.workspace.stages("resolve", "download", "split", "freeze")
        self._folder, self._weights = folder, options.weights

    def extract(self) -> sides.Run:
        """Compute all features on an empty store."""
        (self.workspace.folder / FEATURES).unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as store:
            return self.workspace.stage("extract", Path(store))

    def freeze(self) -> sides.Run:
        """Compile the backbone."""
        return self.workspace.stage("freeze")

    def keras(self, variables: dict[str, str]) -> sides.Run:
        """Compute all features by Keras."""
        arguments = [self.images, self._folder / "keras.npy", *([self._weights] if self._weights else [])]
        return sides.python("benchmarks.keras_side.extraction", *arguments, **variables)

    def compared(self) -> list[float] | None:
        """Return the distances of `differences`; None without a weights file, when each process has other weights."""
        if self._weights is None:
            return None
        compared = sides.python("benchmarks.extract", "--compare", self.workspace.folder, self._weights)
        return [float(number) for number in compared.output.split()[-2:]]


def after(first: sides.Run, second: sides.Run) -> sides.Run:
    """Return the seconds and memory of two runs, one after the other."""
    return sides.Run(
        first.seconds + second.seconds,
        max(first.peak_mib, second.peak_mib),
        max(first.private_mib, second.private_mib),
    )


def rows_of(took: dict[str, list[sides.Run]], checked: list[float] | None) -> list[Row]:
    """Return the rows of the table from the runs of each side, and the distances of the features."""
    rows = []
    extract, freeze = took["extract"], took["freeze"]
    both = [after(*stages) for stages in zip(freeze, extract, strict=True)]
    for name, ours, wanted in ((CLAIM, extract, 4.0), (WITH_FREEZE, both, None)):
        for side in took.keys() - {"extract", "freeze"}:
            theirs = took[side]
            rows.append(
                Row(
                    claim=name,
                    against=AGAINST + sides.onednn_note(side),
                    kind="times",
                    wanted=wanted,
                    measured=sides.ratios([run.seconds for run in theirs], [run.seconds for run in ours]),
                    seconds=[sides.middle(ours), sides.middle(theirs)],
                    peak_mib=[sides.peak(ours), sides.peak(theirs)],
                )
            )
    rows.sort(key=lambda row: (row.claim != CLAIM, row.against))
    if checked is None:
        return rows
    overall, worst = checked
    note = f"of all images together; {worst:.1e} at the worst image"
    against = "features by Keras on the same pixels, relative L2"
    return [*rows, Row(claim=CLAIM, against=against, kind="distance", wanted=1e-4, measured=[overall], note=note)]


def main() -> None:
    """Measure both sides in turn, compare their features, and write the figures; or only compare."""
    if sys.argv[1:2] == ["--compare"]:
        print(*differences(Path(sys.argv[2]), sys.argv[3]))
        return
    options = sides.parsed(sides.parser(__doc__))
    with tempfile.TemporaryDirectory() as name:
        both = Sides(Path(name), options)
        variants = {side: lambda variables=v: both.keras(variables) for side, v in sides.keras_sides().items()}
        took = sides.in_turn({"extract": both.extract, "freeze": both.freeze} | variants, options.pairs)
        checked = both.compared()
    results.write("extract", options, rows_of(took, checked))


if __name__ == "__main__":
    main()
