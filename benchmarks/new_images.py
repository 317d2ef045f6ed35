"""`extract` again after 1 % new images, against its own cold run: `python -m benchmarks.new_images`.

Every pair begins with an empty store. The first run has all images but 1 %, the second has all images. Start-up does
not count: the clock starts when Python has imported the stage, and stops when features.npy is complete. The rows of the
images of both runs must be the same to the bit.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import Workspace, settings
from benchmarks.harness.results import Row

NEW_SHARE = 100
FEATURES = Path("data/features/features.npy")
SPLIT = Path("data/split.csv")
TIMED = (
    "import sys, time; from stages import extract; begin = time.perf_counter(); "
    "extract.main(); print(time.perf_counter() - begin)"
)


def without_new(lines: list[str]) -> tuple[list[str], list[int]]:
    """Return the lines of a CSV file without every hundredth row, and the numbers (from 0) of the remaining rows."""
    places = [place for place in range(len(lines) - 1) if place % NEW_SHARE != NEW_SHARE // 2]
    if len(places) == len(lines) - 1:
        # With fewer rows than that, the last one is new.
        places.pop()
    return [lines[0], *(lines[1 + place] for place in places)], places


def extract(workspace: Workspace, store: Path) -> sides.Run:
    """Run the stage; its seconds do not include start-up."""
    run = sides.run([sys.executable, "-c", TIMED], workspace.folder, PYTHONPATH=str(sides.ROOT), GRAFT_STORE=str(store))
    return run._replace(seconds=float(run.output.split()[-1]))


def pair(workspace: Workspace, folder: Path) -> dict[str, sides.Run]:
    """Run the stage with an empty store, and again with new images; check the old rows.

    Raises
    ------
    RuntimeError
        If a row of an image of both runs is not the same.
    """
    split = workspace.folder / SPLIT
    everything = split.read_text(encoding="utf-8")
    old, places = without_new(everything.splitlines())
    store = folder / "store"
    try:
        split.write_text("\n".join(old) + "\n", encoding="utf-8")
        cold = extract(workspace, store)
        before = np.load(workspace.folder / FEATURES)
    finally:
        split.write_text(everything, encoding="utf-8")
    warm = extract(workspace, store)
    if np.load(workspace.folder / FEATURES)[places].tobytes() != before.tobytes():
        raise RuntimeError("the features of old images are not bit-identical")
    shutil.rmtree(store)
    print(f"  cold {cold.seconds:.2f} s, then with 1 % new images {warm.seconds:.2f} s", flush=True)
    return {"cold": cold, "new": warm}


def main() -> None:
    """Measure and write the figures."""
    options = sides.parsed(sides.parser(__doc__))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs.bring(folder / "images", options)
        workspace = Workspace(folder / "workspace", settings(folder / "images", options.weights, head__views=0))
        workspace.stages("resolve", "download", "split", "freeze")
        pairs = [pair(workspace, folder) for _ in range(options.pairs)]
    cold, new = [one["cold"] for one in pairs], [one["new"] for one in pairs]
    row = Row(
        claim="the same with 1 % new images",
        against="its own cold run, start-up excluded",
        kind="share",
        wanted=0.05,
        measured=sides.ratios([run.seconds for run in new], [run.seconds for run in cold]),
        seconds=[sides.middle(new), sides.middle(cold)],
        peak_mib=[sides.peak(new), sides.peak(cold)],
        note="old rows bit-identical in every pair",
    )
    results.write("new_images", options, [row])


if __name__ == "__main__":
    main()
