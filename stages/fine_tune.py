"""Stage fine_tune: train the top of the backbone on stored activations, starting from the head."""

import math

from graft.activations.engines import in_metrics
from graft.activations.inference import frozen_activations, image_requests
from graft.activations.store import Store, default_folder
from graft.core import paths, tensorboard
from graft.core.files import read_json, replacing, write_json, write_rows
from graft.core.progress import Progress
from graft.core.quiet import importing
from graft.core.stage import run_stage
from graft.heads.head import read_head
from graft.images.table import ImageTable, read_image_table
from graft.settings import params
from graft.settings.resolved import view_settings

with importing():
    import keras

    from graft.backbone.frozen import feature_network, frozen_backbone
    from graft.heads.attach import trainable_network
    from graft.training.checkpoint import Checkpoint, checkpoint_of
    from graft.training.devices import this_process
    from graft.training.fine_tune import examples, fine_tune, outcome, resolved_settings, views_in_epochs
    from graft.training.loop import Row
    from graft.training.precision import used_numbers

# What training reads, besides the settings. data/split.csv has the hash of each image.
FILES = (paths.SPLIT, paths.CLASSES, paths.HEAD, paths.BACKBONE_DESCRIPTION, paths.BACKBONE_WEIGHTS, paths.TRUNK)
HISTORY_COLUMNS = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")


def fine_tuned(
    model: keras.Model,
    table: ImageTable,
    parameters: params.Parameters,
    augment: dict[str, object],
    checkpoint: Checkpoint | None,
) -> tuple[list[Row], float, dict[str, float]]:
    """Train the network in place; return what `graft.training.fine_tune.fine_tune` returns."""
    train, validation = table.part("train"), table.part("validation")
    train_images, validation_images = (image_requests(part.files(), part.sha256) for part in (train, validation))
    settings = resolved_settings(parameters.fine_tune, len(train))
    epochs = int(settings.epochs)
    # No more views than the epochs read. They are the first ones: the store has those that the head was trained on.
    views = min(parameters.augment.views, epochs - 1)
    with Store(default_folder()) as store:
        activations = frozen_activations(parameters.extract, ("map",), augment, store, feature_network)
        wanted = views_in_epochs(train_images, epochs, views)
        computed = activations.fill(wanted + validation_images)
        print(f"{len(wanted)} views of {len(train)} images, {computed} computed now", flush=True)
        steps = epochs * math.ceil(len(train) / settings.batch_size)
        with Progress(name="steps", total=steps) as bar:
            return fine_tune(
                model,
                examples(activations, train_images, train.labels, views, bar.update),
                examples(activations, validation_images, validation.labels, 0),
                settings,
                lr=parameters.lr,
                seed=parameters.seed,
                log_folder=tensorboard.log_folder("fine_tune") if settings.tensorboard else None,
                # Epochs of a run that was killed are not trained again.
                on_epoch=lambda row: bar.skip_to(row["epoch"] * steps / epochs),
                checkpoint=checkpoint,
            )


def main() -> None:
    # First: TensorFlow can join a cluster only before it computes anything.
    devices = this_process()
    parameters = params.load()
    settings, augment = parameters.fine_tune, view_settings(parameters.augment, parameters.dataset)
    table = read_image_table()
    head, classes = read_head(paths.HEAD)
    table.require_classes(classes, paths.HEAD)
    model = trainable_network(frozen_backbone(), head)
    checkpoint = checkpoint_of(parameters, augment, FILES)
    if settings.epochs:
        history, share, figures = fine_tuned(model, table, parameters, augment, checkpoint if settings.resume else None)
    else:
        # Without training the network gives what the head gives.
        history, share, figures = [], 0.0, read_json(paths.HEAD_METRICS)["head_validation"]
    if not devices.chief:
        print("trained; worker 0 writes the results")
        return
    with replacing(paths.FINE_TUNED) as path:
        model.save_weights(path)
    write_rows(paths.HISTORY, HISTORY_COLUMNS, history)
    used = {"interpolation": share, "flip": augment["flip"]} | used_numbers(settings.precision)
    used = used | in_metrics(parameters.extract) | devices.in_metrics()
    write_json(paths.FINE_TUNE_METRICS, {"fine_tuned_validation": figures} | used)
    checkpoint.delete()
    print(f"{outcome(history, settings.monitor, share)}: {figures['accuracy']:.4f} of the validation images")


if __name__ == "__main__":
    run_stage(main)
