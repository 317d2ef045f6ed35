"""Images to features on Ray, two workers against one: `python -m benchmarks.ray_workers`.

Each side is a new process with a cluster of its own on this machine and an empty store. The clock starts when the
cluster and the networks are open and each worker has computed an image, and stops when all features are stored.
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import SIZE, Workspace, settings
from benchmarks.harness.results import Row

WORKERS = (1, 2)
# Images that are computed before the clock starts: some blocks for each worker.
FIRST = 200


def fill(workers: int, store: Path) -> float:
    """Compute the features of the images of the current folder into a store; return the seconds after the first."""
    import ray

    from graft.activations.inference import frozen_activations
    from graft.activations.split_requests import TableRequests
    from graft.activations.store import Store
    from graft.images.table import read_image_table
    from graft.settings.extract import Extract

    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    table = read_image_table()
    requests = list(TableRequests(table))
    extract = Extract(engine="ray", precision="float32", batch_size=128)
    with Store(store) as opened:
        activations = frozen_activations(extract, ("map", "features"), {}, opened)
        activations.fill(requests[:FIRST])
        begin = time.perf_counter()
        activations.fill(requests[FIRST:])
        return time.perf_counter() - begin


def side(workspace: Path, workers: int) -> sides.Run:
    """Run `fill` in a process of its own; its seconds are those of `fill`."""
    with tempfile.TemporaryDirectory(dir=workspace.parent) as store:
        run = sides.python(
            "benchmarks.ray_workers", "--fill", workers, store, within=workspace, RAY_USAGE_STATS_ENABLED="0"
        )
    return run._replace(seconds=float(run.output.split()[-1]))


def main() -> None:
    """Measure and write the figures; or, in a side's process, do its part."""
    if sys.argv[1:2] == ["--fill"]:
        print(fill(int(sys.argv[2]), Path(sys.argv[3])))
        return
    options = sides.parsed(sides.parser(__doc__, images=1500))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs.bring(folder / "images", options)
        changes = settings(folder / "images", None, backbone="EfficientNetLite0", image_size=SIZE, head__views=0)
        workspace = Workspace(folder / "workspace", changes | {"weights": "imagenet"})
        workspace.stages("resolve", "download", "split", "freeze")
        turns = {str(each): lambda each=each: side(workspace.folder, each) for each in WORKERS}
        took = sides.in_turn(turns, options.pairs)
    one, two = (took[str(each)] for each in WORKERS)
    row = Row(
        claim="images to features with two workers of Ray, EfficientNetLite0 at 224",
        against="one worker",
        kind="times",
        wanted=1.7,
        measured=sides.ratios([run.seconds for run in one], [run.seconds for run in two]),
        seconds=[sides.middle(two), sides.middle(one)],
        peak_mib=[sides.peak(two), sides.peak(one)],
    )
    print(f"ratios {row.measured}")
    results.write("ray_workers", options, [row])


if __name__ == "__main__":
    main()
