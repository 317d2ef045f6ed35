"""An epoch of fine-tuning MobileNetV2 from layer 100, Graft against Keras: `python -m benchmarks.fine_tune_epoch`.

Keras: the whole network in `fit`, its first 100 layers frozen, decoded images cached in RAM as uint8, flips, rotations
and zooms by Keras's layers, AUTOTUNE and prefetch. Graft: `graft.training.loop.train` on the maps of the same images,
read from the store, in the default precision. Both use batches of 32 and the same optimiser. Each side is a process of
its own. They take turns, epoch by epoch, in alternating order. The first epoch of each side (tracing, filling of
caches) does not count.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

# No part of Graft and no TensorFlow is imported here: the Keras side runs as a user of Keras runs it.
import numpy as np

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.results import Row
from benchmarks.harness.sides import Turns

SIZE = 224
BATCH_SIZE = 32
FROM_LAYER = 100
LEARNING_RATE = 1e-4
CLASSES = photographs.CLASSES
AGAINST = "Keras fit, same layers, batch size and kind of augmentation, images in RAM"
# Of `graft.images.augmentation`; the layers of the Keras side draw from the same ranges.
AUGMENTATION = {
    "flip": "horizontal",
    "rotation": 15.0,
    "zoom": 0.15,
}
# `fine_tune` of params.yaml, without what the Keras side does not do.
FINE_TUNE = {
    "from_layer": FROM_LAYER,
    "to_layer": None,
    "batch_size": BATCH_SIZE,
    "optimizer": "adamw",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "layer_decay": 1.0,
    "schedule": "cosine",
    "warmup": 0.0,
    "plateau_patience": 3,
    "patience": None,
    "monitor": None,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "mixup": 0.0,
    "ema": 0.0,
    "interpolation": 1.0,
    "precision": "auto",
    "deterministic": False,
    "maps": "stored",
    "resume": False,
    "tensorboard": False,
}


def keras_side(folder: Path, weights: str | None, epochs: int) -> None:
    """Fine-tune as a good user of Keras does."""
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        folder / "images", image_size=(SIZE, SIZE), batch_size=None, shuffle=False
    )
    augment = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(AUGMENTATION["rotation"] / 360),
            keras.layers.RandomZoom(AUGMENTATION["zoom"]),
        ]
    )
    dataset = dataset.map(lambda image, label: (tf.cast(image, tf.uint8), label), num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.cache().shuffle(1000).batch(BATCH_SIZE)
    dataset = dataset.map(
        lambda images, labels: (augment(tf.cast(images, tf.float32), training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)

    base = keras.applications.MobileNetV2(input_shape=(SIZE, SIZE, 3), include_top=False, weights=weights)
    for layer in base.layers[:FROM_LAYER]:
        layer.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    features = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    outputs = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(LEARNING_RATE), loss, metrics=["accuracy"])
    turns = Turns()
    turns.wait()
    after_epoch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: turns.done())
    model.fit(dataset, epochs=epochs, callbacks=[after_epoch], verbose=0)


def fill_store(folder: Path, weights: str | None) -> None:
    """Put the maps of one augmented view of each image into the store."""
    from graft.activations.store import Store
    from graft.backbone.build import build
    from graft.backbone.compile import compile_network
    from graft.backbone.cut import cut

    trunk = cut(build("MobileNetV2", SIZE, weights or "none"), FROM_LAYER).trunk
    (folder / "trunk.tflite").write_bytes(compile_network(trunk, "MobileNetV2"))
    with Store(folder / "store") as store:
        _activations(folder, store).fill(_requests(folder))


def graft_side(folder: Path, weights: str | None, epochs: int) -> None:
    """Fine-tune from the cut, on maps from the store."""
    from graft.activations.store import Store
    from graft.backbone.build import build
    from graft.backbone.cut import cut
    from graft.backbone.frozen import Backbone
    from graft.heads.attach import trainable_network
    from graft.heads.head import linear
    from graft.settings import params
    from graft.training.batches import Examples
    from graft.training.fine_tune import resolved_settings
    from graft.training.loop import train

    halves = cut(build("MobileNetV2", SIZE, weights or "none"), FROM_LAYER)
    head = linear(np.zeros((halves.top.output.shape[-1], CLASSES), np.float32), np.zeros(CLASSES, np.float32))
    model = trainable_network(Backbone("MobileNetV2", halves, "avg"), head)
    requests = _requests(folder)
    settings = resolved_settings(params.FineTune.model_validate(FINE_TUNE | {"epochs": epochs}), len(requests))
    turns = Turns()
    with Store(folder / "store") as store:
        activations = _activations(folder, store)
        examples = Examples(
            lambda rows, epoch: activations.read("map", [requests[row] for row in rows]),
            np.arange(len(requests)) % CLASSES,
        )
        turns.wait()
        train(model, examples, None, settings, LEARNING_RATE, seed=0, on_epoch=lambda row: turns.done())


def _activations(folder: Path, store):
    from graft.activations.engines import InThreads
    from graft.activations.inference import Activations
    from graft.activations.litert import Network
    from graft.activations.requests import Pixels
    from graft.images import augmentation

    settings = augmentation.NEUTRAL | AUGMENTATION | {"probability": 1.0}
    engine = InThreads(Network(folder / "trunk.tflite"))
    return Activations(engine, ("map",), Pixels(SIZE, "squash", settings), store)


def _requests(folder: Path) -> list:
    from graft.activations.requests import Request
    from graft.core.files import sha256_of

    return [Request(path, sha256_of(path), 1) for path in sorted((folder / "images").rglob("*.jpg"))]


SIDES = {"keras": keras_side, "graft": graft_side}


def worker(side: str, folder: Path, options: argparse.Namespace, variables: dict[str, str]) -> sides.Worker:
    """Start a side's process; it waits for its turn."""
    arguments = ["--side", side, "--folder", folder, "--epochs", options.pairs + 1]
    arguments += ["--weights", options.weights] if options.weights else []
    return sides.Worker("benchmarks.fine_tune_epoch", *arguments, PYTHONPATH=str(sides.ROOT), **variables)


def measure(workers: dict[str, sides.Worker], pairs: int) -> dict[str, list[dict[str, float]]]:
    """Return the reports of each side's epochs, without the first."""
    reports: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
    for pair in range(pairs + 1):
        for side in sorted(workers, reverse=pair % 2 == 0):
            row = workers[side].turn()
            reports[side].append(row)
            line = f"  {side:14s} {row['seconds']:6.1f} s, processor {row['processor_seconds']:6.1f} s"
            print(line if pair else f"{line}  (not counted)", flush=True)
    for one in workers.values():
        one.end()
    return {side: rows[1:] for side, rows in reports.items()}


def rows_of(reports: dict[str, list[dict[str, float]]]) -> list[Row]:
    """Return the rows of the table from the reports of the sides."""
    return [
        Row(
            claim="a fine-tuning epoch, warm store",
            against=AGAINST + sides.onednn_note(side),
            kind="times",
            wanted=4.0,
            measured=sides.ratios(_each(reports[side], "seconds"), _each(reports["graft"], "seconds")),
            seconds=[median(_each(reports[one], "seconds")) for one in ("graft", side)],
            peak_mib=[max(_each(reports[one], "peak_mib")) for one in ("graft", side)],
        )
        for side in reports
        if side != "graft"
    ]


def _each(rows: list[dict[str, float]], key: str) -> list[float]:
    return [row[key] for row in rows]


def options_given() -> argparse.Namespace:
    """Read the command line."""
    parser = sides.parser(__doc__, images=2936)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    return sides.parsed(parser)


def main() -> None:
    """Measure the sides in turn and write the figures, or be one of the sides."""
    options = options_given()
    weights = str(options.weights) if options.weights else None
    if options.fill:
        fill_store(options.folder, weights)
    elif options.side:
        SIDES[options.side](options.folder, weights, options.epochs)
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            photographs.bring(folder / "images", options)
            given = ["--weights", options.weights] if options.weights else []
            sides.python("benchmarks.fine_tune_epoch", "--fill", "--folder", folder, *given)
            workers = {"graft": worker("graft", folder, options, {})}
            for side, variables in sides.keras_sides().items():
                workers[side] = worker("keras", folder, options, variables)
            results.write("fine_tune_epoch", options, rows_of(measure(workers, options.pairs)))


if __name__ == "__main__":
    main()
