"""A GPU against the CPU of the same machine, in under ten minutes: `python -m benchmarks.gpu`.

It checks that the features of images, and the losses of three training steps, agree in float32, and measures images a
second of both. CPU: LiteRT for the features, `graft.training.loop.train` without the GPU for the steps. GPU: the engine
tensorflow, and the same training with the GPU, also in bfloat16 and float16. Each is a process of its own. It writes
results/gpu.json and prints the lines that `python -m benchmarks.report` puts into RESULTS.md.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.projects import Workspace, settings
from benchmarks.harness.results import Row

NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
OUTPUTS = ("map", "features")
AGREE = 1e-3
STEPS, TIMED_EPOCHS = 20, 3
LR = 1e-3


def extraction(engine: str, options: argparse.Namespace) -> dict[str, object]:
    """Compute the features of all images; return images a second, without those of the first batch."""
    from graft.activations.engines import open_engine
    from graft.activations.requests import Pixels
    from graft.activations.split_requests import TableRequests
    from graft.backbone.frozen import feature_network
    from graft.core import paths
    from graft.core.files import read_json
    from graft.images.table import read_image_table
    from graft.settings.extract import Extract

    table, backbone = read_image_table(), read_json(paths.BACKBONE_DESCRIPTION)
    requests = TableRequests(table)
    pixels = Pixels(backbone["image_size"], backbone["resize"])
    chosen = Extract(engine=engine, precision="float32", batch_size=options.batch_size)
    opened = open_engine(chosen, OUTPUTS, feature_network)
    list(opened.rows(OUTPUTS, pixels, requests[: options.batch_size]))
    begin = time.perf_counter()
    features = [outcome["features"] for _, outcome in opened.rows(OUTPUTS, pixels, requests)]
    seconds = time.perf_counter() - begin
    np.save(f"{engine}.npy", features)
    return {"images_a_second": len(requests) / seconds}


def training(precision: str, options: argparse.Namespace) -> dict[str, object]:
    """Train on maps of random numbers; return the losses of three steps, and images a second after the first epoch."""
    from graft.backbone.frozen import frozen_backbone
    from graft.heads.attach import trainable_network
    from graft.heads.head import linear
    from graft.settings import params
    from graft.training.batches import Examples
    from graft.training.fine_tune import resolved_settings
    from graft.training.gpu import prepare, training_gpu
    from graft.training.loop import train

    size, classes = options.batch_size, photographs.CLASSES
    # Without what would hide a difference behind another mean of random numbers.
    changes = {"batch_size": size, "precision": precision, "mixup": 0.0, "monitor": None, "patience": None}
    plain = params.load().fine_tune.model_copy(update=changes)
    prepare(plain)
    backbone = frozen_backbone()
    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.01, (backbone.cut.top.output.shape[-1], classes)).astype(np.float32)
    maps = random.normal(0, 1, (size, *backbone.cut.top.input.shape[1:])).astype(np.float16)

    def run(steps: int, epochs: int, on_epoch=None) -> list[float]:
        model = trainable_network(backbone, linear(kernel, np.zeros(classes, np.float32)))
        chosen = resolved_settings(plain.model_copy(update={"epochs": epochs}), size * steps, training_gpu())
        examples = Examples(lambda rows, epoch: maps[rows % size], np.arange(size * steps) % size % classes)
        return [row["loss"] for row in train(model, examples, None, chosen, LR, seed=0, on_epoch=on_epoch)]

    ends: list[float] = []
    losses = run(1, 3)
    run(STEPS, 1 + TIMED_EPOCHS, lambda row: ends.append(time.perf_counter()))
    seconds = min(np.diff(ends))
    return {"losses": losses, "images_a_second": size * STEPS / seconds}


def side(name: str, options: argparse.Namespace) -> None:
    """Be one of the sides: print what it found, in the workspace as current folder."""
    kind, _, choice = name.partition(":")
    print(json.dumps({"extraction": extraction, "training": training}[kind](choice, options)))


def run_side(name: str, workspace: Workspace, options: argparse.Namespace, **variables: str) -> dict:
    """Run a side in a process of its own; return what it found."""
    arguments = ["--side", name, "--batch-size", options.batch_size]
    output = sides.python("benchmarks.gpu", *arguments, within=workspace.folder, **variables).output
    found = json.loads(next(line for line in reversed(output.splitlines()) if line.startswith("{")))
    print(f"  {name}{' without the GPU' if variables else ''}: {found['images_a_second']:.0f} images/s", flush=True)
    return found


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative distance of two arrays."""
    return float(np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected))


def measure(folder: Path, options: argparse.Namespace, precisions: list[str]) -> list[Row]:
    """Measure all sides; return the rows of the table."""
    photographs.bring(folder / "images", options)
    changes = settings(folder / "images", options.weights, image_size=options.size)
    workspace = Workspace(folder / "workspace", changes)
    workspace.stages("resolve", "download", "split", "freeze")
    cpu, gpu = (run_side(f"extraction:{engine}", workspace, options) for engine in ("litert", "tensorflow"))
    features = [np.load(workspace.folder / f"{engine}.npy") for engine in ("tensorflow", "litert")]
    rows = [
        Row(claim="features, float32", against="LiteRT", kind="distance", wanted=AGREE, measured=[distance(*features)]),
        _speed("extraction, float32", "LiteRT on the CPU", gpu, cpu),
    ]
    expected = run_side("training:float32", workspace, options, **NO_GPU)
    for precision in precisions:
        found = run_side(f"training:{precision}", workspace, options)
        wanted = AGREE if precision == "float32" else None
        apart = distance(found["losses"], expected["losses"])
        name = f"the losses of three training steps, {precision}"
        rows.append(Row(claim=name, against="the CPU in float32", kind="distance", wanted=wanted, measured=[apart]))
        rows.append(_speed(f"training, {precision}", "the CPU in float32", found, expected))
    return rows


def _speed(claim: str, against: str, gpu: dict, cpu: dict) -> Row:
    both = [one["images_a_second"] for one in (gpu, cpu)]
    note = f"{claim}: {both[0]:.0f} images a second, {against} {both[1]:.0f}"
    return Row(claim=claim, against=against, kind="times", wanted=None, measured=[both[0] / both[1]], note=note)


def options_given() -> argparse.Namespace:
    """Read the command line."""
    parser = sides.parser(__doc__, images=2000)
    parser.add_argument("--size", type=int, default=224, help="pixels on each side (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a batch (default %(default)s)")
    parser.add_argument("--allow-cpu", action="store_true", help="without a GPU, compare the CPU with itself")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return sides.parsed(parser)


def main() -> None:
    """Measure and write the figures, or be one of the sides."""
    options = options_given()
    if options.side:
        side(options.side, options)
        return
    from graft.activations.tensorflow_engine import gpu_names

    card = next(iter(gpu_names()), None)
    if not card and not options.allow_cpu:
        print("benchmarks.gpu: not run on a GPU, for TensorFlow sees none; nothing is written")
        return
    precisions = ["float32", "bfloat16", "float16"] if card else ["float32"]
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), options, precisions)
    path = results.write("gpu", options, rows, gpu=card or "no GPU, the CPU with itself")
    written = json.loads(path.read_text(encoding="utf-8"))
    print(report.section(report.title(written), [written]))
    wrong = [row.claim for row in rows if row.kind == "distance" and row.wanted and row.measured[0] > row.wanted]
    if wrong:
        sys.exit(f"benchmarks.gpu: GPU and CPU do not agree: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
