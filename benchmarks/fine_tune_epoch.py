"""An epoch of fine-tuning MobileNetV2 from layer 100, Graft against Keras: `python -m benchmarks.fine_tune_epoch`.

Keras: the whole network in `fit`, its first 100 layers frozen, decoded images cached in RAM as uint8, flips, rotations
and zooms by Keras's layers, AUTOTUNE and prefetch. Graft: `training.train` on the same images' cached maps, read from a
warm store. Both use batches of 32 and the same optimiser. The sides are processes of their own that take turns, epoch
by epoch, in an order that alternates; each side's first epoch (tracing, filling of caches) is not counted.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

# Here no part of Graft and no TensorFlow is imported: the Keras side is to run as a user of Keras runs it.
import numpy as np

SIZE = 224
BATCH_SIZE = 32
FROM_LAYER = 100
LEARNING_RATE = 1e-4
CLASSES = 5
SEED = 0
# Of `stages.parts.augment`; the layers of the Keras side draw from the same ranges.
AUGMENTATION = {
    "flip": "horizontal",
    "rotation": 15.0,
    "zoom": 0.15,
    "shift": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
}


class Turns:
    """A side's end of the pipe: waits for its turn, then tells how long the epoch took."""

    def wait(self) -> None:
        """Wait until it is this side's turn, and start the clocks."""
        sys.stdin.readline()
        self._begin = time.perf_counter(), time.process_time()

    def done(self) -> None:
        """Tell the epoch's seconds, the processor's seconds and the peak memory so far; wait for the next turn."""
        wall, processor = self._begin
        told = {
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - processor,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(told), flush=True)
        self.wait()


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
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: turns.done())
    model.fit(dataset, epochs=epochs, callbacks=[told], verbose=0)


def fill_store(folder: Path, weights: str | None) -> None:
    """Compute the maps of one augmented view of each image, as `stages.fine_tune` does where the store lacks them."""
    from stages.parts import backbones, trunk
    from stages.parts.store import Store

    cut = trunk.cut(backbones.build("MobileNetV2", SIZE, weights or "none"), FROM_LAYER)
    (folder / "trunk.tflite").write_bytes(trunk.compile_network(cut.trunk, "MobileNetV2"))
    with Store(folder / "store") as store:
        _activations(folder, store).fill(_requests(folder))


def graft_side(folder: Path, weights: str | None, epochs: int) -> None:
    """Fine-tune from the cut, on maps from the store."""
    from stages.parts import backbones, graft, heads, training, trunk
    from stages.parts.store import Store

    cut = trunk.cut(backbones.build("MobileNetV2", SIZE, weights or "none"), FROM_LAYER)
    head = heads.linear(np.zeros((cut.top.output.shape[-1], CLASSES), np.float32), np.zeros(CLASSES, np.float32))
    model = graft.trainable(graft.Backbone("MobileNetV2", cut, "avg"), head)
    requests = _requests(folder)
    labels = np.arange(len(requests)) % CLASSES
    settings = training.Settings(learning_rate=LEARNING_RATE, epochs=epochs, batch_size=BATCH_SIZE)
    turns = Turns()
    with Store(folder / "store") as store:
        activations = _activations(folder, store)
        examples = training.Examples(
            lambda rows, epoch: activations.read("map", [requests[row] for row in rows]), labels
        )
        turns.wait()
        training.train(model, examples, None, settings, on_epoch=lambda row: turns.done())


def _activations(folder: Path, store):
    from stages.parts.engine import Activations, Pixels
    from stages.parts.network import Network

    return Activations(Network(folder / "trunk.tflite"), ("map",), Pixels(SIZE, "squash", AUGMENTATION), store)


def _requests(folder: Path) -> list:
    from stages.parts.engine import Request
    from stages.parts.files import sha256_of

    return [Request(path, sha256_of(path), 1) for path in sorted((folder / "images").rglob("*.jpg"))]


SIDES = {"keras": keras_side, "graft": graft_side}


def bring_images(folder: Path, archive: Path | None, count: int) -> None:
    """Put `count` images into class folders: the first of each class of an archive, or generated ones."""
    if archive is None:
        for number in range(count):
            _generate(folder / f"class_{number % CLASSES}" / f"{number:06}.jpg", number)
        return
    with tarfile.open(archive) as members:
        photographs = sorted(m.name for m in members.getmembers() if m.name.endswith(".jpg"))
        # Spread over the sorted names, so that each class keeps its share.
        chosen = {photographs[i * len(photographs) // count] for i in range(min(count, len(photographs)))}
        members.extractall(folder, [m for m in members.getmembers() if m.name in chosen], filter="data")
    inner = [path for path in folder.iterdir() if path.is_dir()]
    if len(inner) == 1:
        for classes in inner[0].iterdir():
            classes.rename(folder / classes.name)
        inner[0].rmdir()


def _generate(path: Path, number: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng([SEED, number]).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=90)


def start(side: str, folder: Path, weights: str | None, epochs: int, onednn: bool) -> subprocess.Popen:
    """Start a side's process; it waits for its turn."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    # Graft turns oneDNN on itself; for Keras the default depends on the processor.
    if onednn:
        environment["TF_ENABLE_ONEDNN_OPTS"] = "1"
    command = [sys.executable, "-m", "benchmarks.fine_tune_epoch", "--side", side, "--folder", str(folder)]
    command += ["--epochs", str(epochs)] + (["--weights", weights] if weights else [])
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def take_turn(process: subprocess.Popen) -> dict[str, float]:
    """Let a side run an epoch; return what it tells."""
    process.stdin.write("\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{' '.join(process.args)} ended with status {process.wait()}")


def measure(folder: Path, weights: str | None, pairs: int, keras_onednn: bool) -> dict[str, list[dict[str, float]]]:
    """Return what each side told of each counted epoch."""
    processes = {
        "keras": start("keras", folder, weights, pairs + 1, keras_onednn),
        "graft": start("graft", folder, weights, pairs + 1, True),
    }
    told: dict[str, list[dict[str, float]]] = {side: [] for side in processes}
    for pair in range(pairs + 1):
        for side in sorted(processes, reverse=pair % 2 == 0):
            row = take_turn(processes[side])
            told[side].append(row)
            line = f"  {side:5s} {row['seconds']:6.1f} s, processor {row['processor_seconds']:6.1f} s"
            print(line if pair else f"{line}  (not counted)", flush=True)
    for process in processes.values():
        process.communicate("\n")
    return {side: rows[1:] for side, rows in told.items()}


def ratio(told: dict[str, list[dict[str, float]]], key: str) -> float:
    """Return the median over pairs of Keras's figure by Graft's."""
    return median(keras[key] / graft[key] for keras, graft in zip(told["keras"], told["graft"], strict=True))


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, help="a .tar of class folders of .jpg (default: generated images)")
    parser.add_argument("--weights", help="a weights file of MobileNetV2 without top (default: drawn at random)")
    parser.add_argument("--images", type=int, default=2936, help="images in an epoch")
    parser.add_argument("--pairs", type=int, default=3, help="counted epochs of each side")
    parser.add_argument("--keras-onednn", action="store_true", help="oneDNN on for Keras too, whatever the processor")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main() -> None:
    """Measure both sides in turn and print the medians, or be one of the sides."""
    options = arguments()
    if options.side:
        SIDES[options.side](options.folder, options.weights, options.epochs)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        bring_images(folder / "images", options.archive, options.images)
        filled = "from benchmarks.fine_tune_epoch import *; fill_store(Path(sys.argv[1]), sys.argv[2] or None)"
        subprocess.run([sys.executable, "-c", filled, name, options.weights or ""], check=True)
        told = measure(folder, options.weights, options.pairs, options.keras_onednn)
    for side, rows in told.items():
        middle = {key: median(row[key] for row in rows) for key in rows[0]}
        print(
            f"{side}: an epoch of {options.images} images in {middle['seconds']:.1f} s "
            f"({middle['processor_seconds']:.1f} s of processor time), peak memory {middle['peak_mib']:.0f} MiB"
        )
    print(f"ratio, median of {options.pairs} pairs: {ratio(told, 'seconds'):.2f}", end="")
    print(f" (processor time {ratio(told, 'processor_seconds'):.2f})")


if __name__ == "__main__":
    main()
