"""Stage fine_tune: train the top of the backbone on the maps of the frozen trunk, starting from the head."""

from graft.activations.engines import in_metrics, networks
from graft.activations.inference import frozen_activations
from graft.activations.split_requests import TableRequests
from graft.activations.store import Store, default_folder
from graft.core import paths, tensorboard
from graft.core.files import read_json, replacing, write_json, write_rows
from graft.core.progress import Progress
from graft.core.quiet import importing
from graft.core.stage import run_stage
from graft.heads.head import read_head
from graft.images.table import ImageTable, read_image_table, with_few_for_validation
from graft.settings import params
from graft.settings.resolved import view_settings

with importing():
    import keras

    from graft.backbone.frozen import feature_network, frozen_backbone
    from graft.heads.attach import trainable_network
    from graft.training.checkpoint import Checkpoint, checkpoint_of
    from graft.training.devices import this_process
    from graft.training.fine_tune import EpochBlocks, examples, fine_tune, maps_of, outcome, resolved_settings
    from graft.training.gpu import faults, prepare, require_deterministic, training_gpu
    from graft.training.loop import COLUMNS, Row
    from graft.training.precision import used_numbers

# What training reads, besides the settings. data/split.csv has the hash of each image.
FILES = (paths.SPLIT, paths.CLASSES, paths.HEAD, paths.BACKBONE_DESCRIPTION, paths.BACKBONE_WEIGHTS)


def fine_tuned(
    model: keras.Model, table: ImageTable, parameters: params.Parameters, checkpoint: Checkpoint | None
) -> tuple[list[Row], float, dict[str, float]]:
    """Train the network in place; return what `graft.training.fine_tune.fine_tune` returns."""
    train, validation = table.part("train"), table.part("validation")
    train_images, validation_images = map(TableRequests, (train, validation))
    settings = resolved_settings(parameters.fine_tune, len(train), training_gpu())
    epochs = int(settings.epochs)
    # No more views than the epochs read. They are the first ones: the store has those that the head was trained on.
    views = min(parameters.augment.views, epochs - 1)
    maps, engine = maps_of(table, parameters)
    print(maps.line, flush=True)
    augment = view_settings(parameters.augment, parameters.dataset)
    with Store(default_folder()) as store:
        activations = frozen_activations(engine, ("map",), augment, store, feature_network, maps.outputs)
        if maps.stored:
            wanted = EpochBlocks(train_images, validation_images, epochs, views)
            computed = activations.fill_blocks(wanted)
            print(f"{wanted.training_views} views of {len(train)} images, {computed} computed now", flush=True)
        steps = epochs * -(-len(train) // settings.batch_size)
        with Progress(name="steps", total=steps) as bar, faults(settings):
            return fine_tune(
                model,
                examples(activations, train_images, train.labels, views, bar.update),
                examples(activations, validation_images, validation.labels, 0),
                settings,
                lr=parameters.lr,
                seed=parameters.seed,
                log_folder=tensorboard.log_folder("fine_tune") if settings.tensorboard else None,
                on_epoch=lambda row: bar.skip_to(row["epoch"] * steps / epochs),  # of a run that was killed too
                checkpoint=checkpoint,
            )


def main() -> None:
    # First: TensorFlow can join a cluster only before it computes anything.
    devices = this_process()
    parameters = params.load()
    settings, augment = parameters.fine_tune, view_settings(parameters.augment, parameters.dataset)
    gpu = prepare(settings)
    table = with_few_for_validation(read_image_table(), parameters.limits.rows_in_memory)
    head, classes = read_head(paths.HEAD)
    table.require_classes(classes, paths.HEAD)
    model = trainable_network(frozen_backbone(), head)
    require_deterministic(model, settings)
    used = {"flip": augment["flip"]} | used_numbers(settings.precision, gpu) | in_metrics(maps_of(table, parameters)[1])
    used |= devices.in_metrics()
    training = parameters.model_dump(include={"lr", "seed", "augment", "fine_tune"}) | augment | used
    training["validation_images"] = len(table.part("validation"))
    checkpoint = checkpoint_of(training, (*FILES, *networks(parameters.extract, ("map",))))
    if settings.epochs:
        history, share, figures = fine_tuned(model, table, parameters, checkpoint if settings.resume else None)
    else:
        # Without training the network gives what the head gives.
        history, share, figures = [], 0.0, read_json(paths.HEAD_METRICS)["head_validation"]
    if not devices.chief:
        print("trained; worker 0 writes the results")
        return
    with replacing(paths.FINE_TUNED) as path:
        model.save_weights(path)
    write_rows(paths.HISTORY, COLUMNS, history)
    write_json(paths.FINE_TUNE_METRICS, {"fine_tuned_validation": figures, "interpolation": share} | used)
    checkpoint.delete()
    print(f"{outcome(history, settings.monitor, share)}: {figures['accuracy']:.4f} of the validation images are right")


if __name__ == "__main__":
    run_stage(main)
