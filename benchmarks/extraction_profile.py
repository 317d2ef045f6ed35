"""Where the time of extraction goes: `python -m benchmarks.extraction_profile --archive FILE --weights FILE`.

It prints milliseconds an image: of each step on one thread; then of the network, the pixels and both with a thread for
each core, and of all with the store. docs/design.md cites them; they are not in benchmarks/RESULTS.md.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.datasets import photographs
from benchmarks.harness import sides
from benchmarks.harness.projects import SIZE, Workspace, settings
from graft.activations.engines import InThreads
from graft.activations.inference import Activations
from graft.activations.litert import Network
from graft.activations.requests import Pixels, Request
from graft.activations.store import Store
from graft.core.files import sha256_of
from graft.core.threads import in_order, usable_cpus
from graft.images import loader

RESIZE = "squash"
WARM_UP = 16


def milliseconds(work: Callable[[], object], count: int) -> float:
    """Return the milliseconds that an image takes, where `work` does `count` images."""
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin) / count


def steps(paths: list[Path], networks: list[Path]) -> dict[str, float]:
    """Return the milliseconds of each step on one thread; its first images are not counted."""
    trunk, top = (Network(path) for path in networks)
    found, inputs = {}, paths
    for name, step in {
        "read": Path.read_bytes,
        "decode": lambda data: loader.decode(data, SIZE, "image"),
        "resize": lambda image: np.asarray(loader.resized(image, SIZE, RESIZE)),
        "trunk": lambda array: trunk(array)[0],
        "top": lambda array: top(array)[0],
    }.items():
        list(map(step, inputs[:WARM_UP]))
        outputs: list = []
        found[name] = milliseconds(partial(outputs.extend, map(step, inputs)), len(inputs))
        inputs = outputs
    return found


def together(paths: list[Path], networks: list[Path], store: Path) -> dict[str, float]:
    """Return the milliseconds an image takes on a thread for each core: network, pixels, both, and with the store."""
    network = Network(*networks)
    one = loader.load(paths[0], SIZE, RESIZE)
    requests = [Request(path, sha256_of(path)) for path in paths]

    def load(path: Path) -> np.ndarray:
        return loader.load(path, SIZE, RESIZE)

    works = {
        "network": lambda: list(in_order(lambda _: network(one), paths)),
        "pixels": lambda: list(in_order(load, paths)),
        "both": lambda: list(in_order(lambda path: network(load(path)), paths)),
    }
    found = {name: milliseconds(work, len(paths)) for name, work in works.items()}
    with Store(store) as opened:
        activations = Activations(InThreads(network), ("map", "features"), Pixels(SIZE, RESIZE), opened)
        found["with the store"] = milliseconds(lambda: activations.fill(requests), len(paths))
    return found


def main() -> None:
    """Print both tables."""
    options = sides.parsed(sides.parser(__doc__, images=1000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = photographs.bring(folder / "images", options)
        workspace = Workspace(folder / "workspace", settings(folder / "images", options.weights))
        workspace.stages("resolve", "download", "split", "freeze")
        networks = [workspace.folder / "data/backbone" / part for part in ("trunk.tflite", "top.tflite")]
        for title, table in (
            ("one thread", steps(paths, networks)),
            (f"{usable_cpus()} threads", together(paths, networks, folder / "profile")),
        ):
            print(f"{title}, ms an image: " + ", ".join(f"{step} {took:.2f}" for step, took in table.items()))


if __name__ == "__main__":
    main()
