"""Stage fine_tune: train the top of the backbone on cached activations, starting from the head."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from stages.parts import catalog, heads, params, precision, scores, tensorboard
from stages.parts.engine import Activations, Pixels, Request
from stages.parts.errors import run
from stages.parts.files import read_json, read_rows, replacing, write_json, write_rows
from stages.parts.native_output import importing
from stages.parts.network import Network
from stages.parts.store import Store, default_folder
from stages.parts.views import view_in_epoch

with importing():
    import keras

    from stages.parts import graft, training

SPLIT = Path("data/split.csv")
RAW = Path("data/raw")
BACKBONE = Path("data/backbone")
HEAD = Path("models/head.npz")
HEAD_METRICS = Path("metrics/head.json")
FINE_TUNED = Path("models/fine_tuned.weights.h5")
METRICS = Path("metrics/fine_tune.json")
HISTORY = Path("metrics/history.csv")
# How far to go from the weights that training starts from to those it ends with, where the validation part says it.
SHARES = (0.25, 0.5, 0.75, 1.0)
# What `fine_tune.epochs: auto` stands for: so many epochs, or more where they are fewer than so many steps.
EPOCHS = 8
STEPS = 300
HISTORY_COLUMNS = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")


def examples(activations: Activations, images: list[Request], labels: np.ndarray, views: int) -> training.Examples:
    """Return the maps of some images as `training` reads them, each epoch another view where there are views."""

    def read(rows: np.ndarray, epoch: int) -> np.ndarray:
        chosen = [images[row] for row in rows]
        return activations.read("map", [i._replace(view=view_in_epoch(i.sha256, epoch, views)) for i in chosen])

    return training.Examples(read, labels)


def learnt_from(images: Sequence[Request], epochs: int, views: int) -> list[Request]:
    """Return each view of some images that so many epochs see, once: no more than that is computed."""
    seen = (image._replace(view=view_in_epoch(image.sha256, e, views)) for e in range(epochs) for image in images)
    return list(dict.fromkeys(seen))


def epochs_of(setting: int | str, images: int, batch_size: int) -> int:
    """Return how many epochs `fine_tune.epochs` means, a number or auto, with so many training images."""
    if setting != "auto":
        return setting
    return max(EPOCHS, math.ceil(STEPS / math.ceil(images / batch_size)))


def settings_of(parameters: params.Parameters, images: int) -> training.Settings:
    """Return how to train on so many images, by params.yaml."""
    return training.Settings(
        learning_rate=parameters.lr,
        epochs=epochs_of(parameters.fine_tune.epochs, images, parameters.fine_tune.batch_size),
        batch_size=parameters.fine_tune.batch_size,
        optimizer=parameters.fine_tune.optimizer,
        momentum=parameters.fine_tune.momentum,
        weight_decay=parameters.fine_tune.weight_decay,
        schedule=parameters.fine_tune.schedule,
        warmup=parameters.fine_tune.warmup,
        plateau_patience=parameters.fine_tune.plateau_patience,
        patience=parameters.fine_tune.patience,
        monitor=parameters.fine_tune.monitor,
        label_smoothing=parameters.fine_tune.label_smoothing,
        dropout=parameters.fine_tune.dropout,
        mixup=parameters.fine_tune.mixup,
        average=parameters.fine_tune.average,
        seed=parameters.seed,
        precision=precision.settled(parameters.fine_tune.precision),
        log_folder=tensorboard.log_folder("fine_tune") if parameters.fine_tune.tensorboard else None,
    )


def activations_of(augmentation: dict[str, object], store: Store) -> Activations:
    """Return the activations at the cut, of the images and of views that differ as `augmentation` says."""
    backbone = read_json(BACKBONE / "backbone.json")
    pixels = Pixels(backbone["image_size"], backbone["resize"], augmentation)
    return Activations(Network(BACKBONE / "trunk.tflite"), ("map",), pixels, store)


def settled(
    model: keras.Model, start: list[np.ndarray], shares: Sequence[float], validation: training.Examples
) -> tuple[float, dict[str, float]]:
    """Set the network to the share of the way from `start` whose calibrated loss on the validation part is the lowest.

    Return that share, and the figures of the calibrated network on the validation part.
    """
    end, calibrated = model.get_weights(), []
    on_the_way = (training.blended(start, end, share) for share in shares)
    for logits in training.logits(model, on_the_way, validation):
        temperature = heads.fit_temperature(logits, validation.labels)
        calibrated.append((temperature, scores.choice(heads.probabilities(logits / temperature), validation.labels)))
    best = int(np.argmin([figures["loss"] for _, figures in calibrated]))
    temperature, figures = calibrated[best]
    model.set_weights(training.blended(start, end, shares[best]))
    graft.set_temperature(model, temperature)
    return shares[best], figures


def fine_tuned(
    model: keras.Model, parameters: params.Parameters, augmentation: dict[str, object]
) -> tuple[list[training.Row], float, dict[str, float]]:
    """Train the network in place; return what happened in each epoch, and what `settled` does."""
    rows = read_rows(SPLIT)
    names = sorted({row["label"] for row in rows})
    images, labels = {}, {}
    for part in ("train", "validation"):
        of_part = [row for row in rows if row["split"] == part]
        images[part] = [Request(RAW / row["path"], row["sha256"]) for row in of_part]
        labels[part] = np.array([names.index(row["label"]) for row in of_part])
    settings = settings_of(parameters, len(images["train"]))
    # No more than the epochs can show of an image, the first ones: the head has learnt from them, the store has them.
    views = min(parameters.augment.views, settings.epochs - 1)
    with Store(default_folder()) as store:
        activations = activations_of(augmentation, store)
        wanted = learnt_from(images["train"], settings.epochs, views)
        computed = activations.fill(wanted + images["validation"])
        print(f"{len(wanted)} views of {len(images['train'])} images, {computed} computed now")
        train = examples(activations, images["train"], labels["train"], views)
        validation = examples(activations, images["validation"], labels["validation"], 0)
        with tqdm(total=settings.epochs, desc="epochs", unit="", leave=False, disable=None) as bar:
            start = model.get_weights()
            history = training.train(model, train, validation, settings, lambda row: bar.update())
        shares = SHARES if parameters.fine_tune.share == "auto" else [parameters.fine_tune.share]
        return history, *settled(model, start, shares, validation)


def main() -> None:
    parameters = params.load()
    augmentation = catalog.augmentation(parameters.dataset, parameters.augment.model_dump(exclude={"views"}))
    model = graft.trainable(graft.frozen_backbone(BACKBONE), heads.read(HEAD))
    if parameters.fine_tune.epochs:
        history, share, figures = fine_tuned(model, parameters, augmentation)
    else:
        # The network as it is: what it gives is what the head gives.
        history, share, figures = [], 0.0, read_json(HEAD_METRICS)["head_validation"]
    with replacing(FINE_TUNED) as path:
        model.save_weights(path)
    write_rows(HISTORY, HISTORY_COLUMNS, history)
    used = {"flip": augmentation["flip"], "precision": precision.settled(parameters.fine_tune.precision)}
    write_json(METRICS, {"fine_tuned_validation": figures, "share": share} | used)
    way = f"{share:.0%} of the way from the head" if share else "the head's weights"
    print(f"fine-tuned for {len(history)} epochs, {way}: {figures['accuracy']:.4f} of the validation images")


if __name__ == "__main__":
    run(main)
