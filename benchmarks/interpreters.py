"""One interpreter a core, or one interpreter with a thread for each: `python -m benchmarks.interpreters`.

It decides how `graft.activations.litert` runs a network. Both ways decode in threads beside the network and compute the
features of all images; they take turns in one process. The network is `freeze`'s trunk and top.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import SIZE, Workspace, settings
from benchmarks.harness.results import Row
from graft.core.threads import in_order, usable_cpus

COUNT = usable_cpus()


def one_a_core(networks: list[Path], paths: list[Path]) -> None:
    """As Graft does: each thread decodes an image and runs an interpreter of its own on it."""
    from graft.activations.litert import Network
    from graft.images import loader

    network = Network(*networks)
    for _ in in_order(lambda path: network(loader.load(path, SIZE, "squash")), paths):
        pass


def one_with_threads(networks: list[Path], paths: list[Path]) -> None:
    """Threads decode ahead, and one interpreter runs each convolution on all cores."""
    from ai_edge_litert.interpreter import Interpreter

    from graft.images import loader

    chain = [Interpreter(model_path=str(path), num_threads=COUNT) for path in networks]
    for interpreter in chain:
        interpreter.allocate_tensors()
    for image in in_order(lambda path: loader.load(path, SIZE, "squash"), paths):
        array = image[None]
        for interpreter in chain:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array)
            interpreter.invoke()
            array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def seconds(way: Callable[[list[Path], list[Path]], None], networks: list[Path], paths: list[Path]) -> float:
    """Return the seconds of one way."""
    begin = time.perf_counter()
    way(networks, paths)
    return time.perf_counter() - begin


def compare(folder: Path, pairs: int) -> None:
    """Print the seconds of both ways, a line for each pair; the first call of each is not counted."""
    networks = [folder / "workspace/data/backbone" / name for name in ("trunk.tflite", "top.tflite")]
    paths = sorted((folder / "images").rglob("*.jpg"))
    ways = [one_a_core, one_with_threads]
    for way in ways:
        way(networks, paths[:32])
    for pair in range(pairs):
        took = {way: seconds(way, networks, paths) for way in sorted(ways, key=ways.index, reverse=pair % 2 == 1)}
        print(*(took[way] for way in ways))


def main() -> None:
    """Measure and write the figures; or only compare."""
    if sys.argv[1:2] == ["--compare"]:
        compare(Path(sys.argv[2]), int(sys.argv[3]))
        return
    options = sides.parsed(sides.parser(__doc__, images=1000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs.bring(folder / "images", options)
        workspace = Workspace(folder / "workspace", settings(folder / "images", options.weights))
        workspace.stages("resolve", "download", "split", "freeze")
        output = sides.python("benchmarks.interpreters", "--compare", folder, options.pairs).output
    # The interpreter prints on the same stream.
    lines = [line.split() for line in output.splitlines() if line[:1].isdigit()]
    own, shared = ([float(line[side]) for line in lines] for side in (0, 1))
    row = Row(
        claim=f"{COUNT} interpreters of one thread, images to features",
        against=f"one interpreter of {COUNT} threads",
        kind="times",
        wanted=None,
        measured=sides.ratios(shared, own),
        seconds=[sorted(own)[len(own) // 2], sorted(shared)[len(shared) // 2]],
        note="decoding in threads beside the network, both ways",
    )
    print(f"ratios {row.measured}")
    results.write("interpreters", options, [row])


if __name__ == "__main__":
    main()
