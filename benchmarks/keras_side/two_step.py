"""The usual script of Keras: a head on the frozen network with augmentation, then fine-tuning from layer 100.

    python -m benchmarks.keras_side.two_step STATE [--archive TAR --parts JSON] [--weights FILE] [--target ACCURACY] ...

It is written as a good user of Keras writes it: image_dataset_from_directory, decoded images cached in RAM, prefetch,
AUTOTUNE, augmentation by Keras's layers, BatchNorm in inference mode, Adam at 1e-3 for 30 epochs and then at 1e-4 for
30. The rates are constant, so that a stop and a restart change nothing.

It also measures its time. STATE has log.json with a row for each epoch: its seconds, the seconds since the process
began, and the accuracy on the test images. The clock runs for start-up, unpacking, training and validation. It stops
for the test images and for saving, which are for this benchmark. After each epoch the script saves the model with its
optimiser, and a new call goes on from there. Its clock starts when the images are in RAM again, and its first epoch,
which compiles the step once more, counts no more than the epoch before.
"""

import argparse
import json
import os
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

SIZE = 224
BATCH_SIZE = 32
FROM_LAYER = 100
HEAD_RATE = 1e-3
DROPOUT = 0.2
PARTS = ("train", "validation", "test")


def unpack(archive: Path, parts: dict[str, str], folder: Path) -> None:
    """Write each image of an archive to PART/CLASS/FILE; `parts` has the part of each CLASS/FILE."""
    unfinished = folder.with_suffix(".part")
    with tarfile.open(archive) as members:
        for member in members:
            name = "/".join(Path(member.name).parts[-2:])
            if name in parts:
                path = unfinished / parts[name] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(members.extractfile(member).read())
    unfinished.rename(folder)


def datasets(folder: Path) -> dict:
    """Return the batches of each part, images float32 0 to 255 and labels; for training shuffled and augmented."""
    import keras
    import tensorflow as tf

    augment = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(15 / 360),
            keras.layers.RandomZoom(0.15),
            keras.layers.RandomTranslation(0.1, 0.1),
        ]
    )
    classes = sorted(path.name for path in (folder / "train").iterdir())
    found = {}
    for part in PARTS:
        images = keras.utils.image_dataset_from_directory(
            folder / part, class_names=classes, image_size=(SIZE, SIZE), batch_size=None, shuffle=False, verbose=False
        )
        # As uint8 they need a quarter of the memory.
        images = images.map(lambda x, y: (tf.cast(tf.round(x), tf.uint8), y), num_parallel_calls=tf.data.AUTOTUNE)
        found[part] = images.cache()
    train = found["train"].shuffle(1000).batch(BATCH_SIZE)
    batches = {part: images.batch(BATCH_SIZE) for part, images in found.items()}
    batches["in RAM"] = found["train"]
    batches["train"] = train.map(
        lambda x, y: (augment(tf.cast(x, tf.float32), training=True), y), num_parallel_calls=tf.data.AUTOTUNE
    )
    return {part: images.prefetch(tf.data.AUTOTUNE) for part, images in batches.items()}


def built(weights: str | None, classes: int):
    """Return the network with its backbone frozen: images 0 to 255 to logits."""
    import keras

    base = keras.applications.MobileNetV2(input_shape=(SIZE, SIZE, 3), include_top=False, weights=weights)
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    features = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    features = keras.layers.Dropout(DROPOUT)(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, keras.layers.Dense(classes)(features))


def thaw(model) -> None:
    """Make the backbone's layers from `FROM_LAYER` on trainable."""
    base = next(layer for layer in model.layers if hasattr(layer, "layers"))
    base.trainable = True
    for layer in base.layers[:FROM_LAYER]:
        layer.trainable = False


def compile_for(model, rate: float) -> None:
    """Compile a model for one of the two steps."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])


class Log:
    """The epochs so far, in a file."""

    def __init__(self, folder: Path):
        self._path = folder / "log.json"
        self._folder = folder
        self.rows: list[dict] = json.loads(self._path.read_text()) if self._path.is_file() else []

    @property
    def model(self) -> Path:
        """The model after the last epoch of the log."""
        return self._folder / f"model_{len(self.rows)}.keras"

    def add(self, model, row: dict) -> None:
        """Save the model, then the row; remove the model of the epoch before."""
        before = self.model
        self.rows.append(row)
        model.save(self.model)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.rows, indent=1))
        os.replace(part, self._path)
        before.unlink(missing_ok=True)


class Clock:
    """Adds the rows of epochs to a log, and decides when to stop."""

    def __init__(self, log: Log, test, options: argparse.Namespace):
        self.stopped = False
        self._log, self._test, self._options = log, test, options
        self._piece_began = psutil.Process().create_time()
        self._resumed = bool(log.rows)
        # The user's wait before the first epoch: since this process began.
        self._start = 0.0 if self._resumed else time.time() - self._piece_began

    def callback(self, model, step: int, epochs: int):
        """Return the callback of Keras that measures a step of so many epochs."""
        import keras

        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self._begin(),
            on_epoch_end=lambda epoch, logs: self._end(model, step, epoch, logs, last=epoch + 1 == epochs),
        )

    def _begin(self) -> None:
        self._epoch_began = time.perf_counter()

    def _end(self, model, step: int, epoch: int, logs: dict, last: bool) -> None:
        seconds = time.perf_counter() - self._epoch_began
        before = self._log.rows[-1] if self._log.rows else {"step": 0, "cumulative": self._start}
        if self._resumed and before["step"] == step:
            seconds = min(seconds, before["seconds"])
        self._resumed = False
        row = {"step": step, "epoch": epoch + 1, "seconds": seconds, "cumulative": before["cumulative"] + seconds}
        row |= {"start": self._start, "validation_accuracy": logs["val_accuracy"]} | self._tested(model, last)
        self._log.add(model, row)
        print(json.dumps(row), flush=True)
        over = self._options.minutes and time.time() - self._piece_began > 60 * self._options.minutes
        self.stopped = bool(over or reached([row], self._options.target))
        model.stop_training = self.stopped

    def _tested(self, model, last: bool) -> dict:
        # Without a target only the last epoch's accuracy is used.
        if self._options.target is None and not last:
            return {}
        begin = time.perf_counter()
        accuracy = model.evaluate(self._test, verbose=0, return_dict=True)["accuracy"]
        return {"test_accuracy": accuracy, "evaluation_seconds": time.perf_counter() - begin}


def reached(rows: Sequence[dict], target: float | None) -> dict | None:
    """Return the first row whose test accuracy is the target's or better, if there is one."""
    # Keras counts in float32.
    hits = (row for row in rows if target is not None and row.get("test_accuracy", 0) >= target - 1e-6)
    return next(hits, None)


def train(options: argparse.Namespace, log: Log) -> None:
    """Go on from the end of the log, until the target, the last epoch or the end of the time."""
    import keras

    batches = datasets(options.state / "images")
    classes = len(list((options.state / "images/train").iterdir()))
    model = keras.models.load_model(log.model) if log.rows else built(options.weights, classes)
    if log.rows:
        # In one process they are there from the second epoch on.
        for _ in batches["in RAM"]:
            pass
    clock = Clock(log, batches["test"], options)
    frozen, fine_tuned = options.epochs, options.fine_tune_epochs or options.epochs
    for step, rate, epochs in ((1, HEAD_RATE, frozen), (2, options.learning_rate, fine_tuned)):
        done = sum(row["step"] == step for row in log.rows)
        if step == 2 and not done:
            thaw(model)
        if not done:
            compile_for(model, rate)
        if done < epochs and not clock.stopped:
            model.fit(
                batches["train"],
                validation_data=batches["validation"],
                initial_epoch=done,
                epochs=epochs,
                callbacks=[clock.callback(model, step, epochs)],
                verbose=0,
            )
        if clock.stopped:
            return


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state", type=Path, help="folder of the log, the model and the images")
    parser.add_argument("--archive", type=Path, help="a .tar of class folders, unpacked first")
    parser.add_argument("--parts", type=Path, help='a JSON file: {"CLASS/FILE": "train", "validation" or "test"}')
    parser.add_argument("--weights", help="of MobileNetV2 without top (default: random)")
    parser.add_argument("--epochs", type=int, default=30, help="of each of the two steps")
    parser.add_argument("--fine-tune-epochs", type=int, help="of the second step (default: --epochs)")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of the second step")
    parser.add_argument("--target", type=float, help="stop at this test accuracy")
    parser.add_argument("--minutes", type=float, help="stop after the epoch in which so many minutes are over")
    return parser.parse_args(given)


def main() -> None:
    """Run the script, or go on with it."""
    options = arguments()
    options.state.mkdir(parents=True, exist_ok=True)
    log = Log(options.state)
    if reached(log.rows, options.target):
        return
    if not (options.state / "images").is_dir():
        unpack(options.archive, json.loads(options.parts.read_text()), options.state / "images")
    train(options, log)


if __name__ == "__main__":
    main()
