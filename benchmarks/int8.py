"""Images to features in whole numbers against float32, on the CPU: `python -m benchmarks.int8`.

It decides whether `extract.precision: int8` is worth its price. Each side is a new process with an empty store; the
clock starts when the networks are open and stops when all features are stored. Compiling in whole numbers is
measured apart: it takes the same time for any number of images. The network is EfficientNetLite0 with its weights.
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import SIZE, Workspace, settings
from benchmarks.harness.results import Row

PRECISIONS = ("float32", "int8")


def compile_network() -> None:
    """Compile the network of the current folder in whole numbers."""
    from graft.images.table import read_image_table
    from stages.extract import compile_in_int8

    compile_in_int8(read_image_table().part("train"))


def fill(precision: str, store: Path) -> float:
    """Compute the features of all images of the current folder into a store; return the seconds."""
    from graft.activations.inference import frozen_activations
    from graft.activations.split_requests import TableRequests
    from graft.activations.store import Store
    from graft.images.table import read_image_table
    from graft.settings.extract import Extract

    table = read_image_table()
    requests = TableRequests(table)
    extract = Extract(engine="litert", precision=precision, batch_size=128)
    with Store(store) as opened:
        activations = frozen_activations(extract, ("map", "features"), {}, opened)
        begin = time.perf_counter()
        activations.fill(requests)
        return time.perf_counter() - begin


def side(workspace: Path, precision: str) -> sides.Run:
    """Run `fill` in a process of its own; its seconds are those of `fill`."""
    with tempfile.TemporaryDirectory(dir=workspace.parent) as store:
        run = sides.python("benchmarks.int8", "--fill", precision, store, within=workspace)
    return run._replace(seconds=float(run.output.split()[-1]))


def main() -> None:
    """Measure and write the figures; or, in a side's process, do its part."""
    if sys.argv[1:2] == ["--compile"]:
        compile_network()
        return
    if sys.argv[1:2] == ["--fill"]:
        print(fill(sys.argv[2], Path(sys.argv[3])))
        return
    options = sides.parsed(sides.parser(__doc__, images=1000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs.bring(folder / "images", options)
        changes = settings(folder / "images", None, backbone="EfficientNetLite0", image_size=SIZE, head__views=0)
        workspace = Workspace(folder / "workspace", changes | {"weights": "imagenet"})
        workspace.stages("resolve", "download", "split", "freeze")
        compiling = sides.python("benchmarks.int8", "--compile", within=workspace.folder)
        turns = {each: lambda each=each: side(workspace.folder, each) for each in PRECISIONS}
        took = sides.in_turn(turns, options.pairs)
    exact, rough = (took[each] for each in PRECISIONS)
    row = Row(
        claim="images to features in int8, EfficientNetLite0 at 224",
        against="float32, LiteRT both",
        kind="times",
        wanted=1.6,
        measured=sides.ratios([run.seconds for run in exact], [run.seconds for run in rough]),
        seconds=[sides.middle(rough), sides.middle(exact)],
        peak_mib=[sides.peak(rough), sides.peak(exact)],
        note=f"compiling the network takes {compiling.seconds:.0f} s more, once",
    )
    print(f"ratios {row.measured}; {row.note}")
    results.write("int8", options, [row])


if __name__ == "__main__":
    main()
