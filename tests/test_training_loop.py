"""Training on stored maps: what changes, what does not, and that the same arguments give the same weights."""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from neutral_settings import fine_tune_settings

from graft.core.errors import GraftError
from graft.settings.optimizers import OPTIMIZERS
from graft.training import loop
from graft.training.batches import Examples, mixup_weights

CLASSES = 3
ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def network(seed=0):
    """A top with all that a real one has: a frozen layer, BatchNorm, depthwise and 1x1 convolutions, a residual."""

    def glorot(number):
        return keras.initializers.GlorotUniform(seed=100 * seed + number)

    maps = keras.Input((4, 4, 2))
    frozen = keras.layers.Conv2D(6, 1, name="frozen", trainable=False, kernel_initializer=glorot(1))(maps)
    x = keras.layers.BatchNormalization(name="norm")(frozen)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=glorot(2))(x)
    x = keras.layers.Conv2D(6, 1, activation="relu6", kernel_initializer=glorot(3))(x)
    x = keras.layers.Add()([x, frozen])
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6", kernel_initializer=glorot(4))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(maps, keras.layers.Dense(CLASSES, name="head", kernel_initializer=glorot(5))(x))


def examples(count=50, seed=0):
    """Maps whose mean depends on the class; in each epoch they are a little brighter."""
    labels = np.arange(count) % CLASSES
    generator = np.random.default_rng(seed)
    maps = (generator.normal(size=(count, 4, 4, 2)) * 0.2 + labels[:, None, None, None]).astype(np.float16)

    def read(rows, epoch):
        return maps[rows] + np.float16(0.01 * epoch)

    return Examples(read, labels)


def contrary_examples():
    """The same maps with wrong labels: training makes their loss higher."""
    return examples()._replace(labels=(examples().labels + 1) % CLASSES)


def train(model, data, validation=None, lr=0.01, seed=0, log_folder=None, on_epoch=None, **settings):
    """Train with neutral settings but for these."""
    return loop.train(model, data, validation, fine_tune_settings(**settings), lr, seed, log_folder, on_epoch)


def logits(model, of, **options):
    """Return a network's logits with its own weights."""
    return next(loop.logits(model, [model.get_weights()], of, **options))


def digest(model):
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_learns_separable_classes(optimizer):
    model = network()
    history = train(model, examples(), examples(seed=1), optimizer=optimizer, schedule="cosine", epochs=20, lr=0.02)
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["val_accuracy"] for row in history) > 0.9


@pytest.mark.parametrize(("optimizer", "changes"), [("adam", 1), ("adamw", 1), ("rmsprop", 2), ("sgd", 2)])
def test_momentum_is_of_sgd_and_rmsprop(optimizer, changes):
    digests = set()
    for momentum in (0.0, 0.5):
        model = network()
        train(model, examples(), optimizer=optimizer, momentum=momentum, epochs=1)
        digests.add(digest(model))
    assert len(digests) == changes


def assert_same_weights(model, other, tolerance=1e-5):
    for weight, other_weight in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other_weight, atol=tolerance)


def test_training_is_what_keras_fit_does():
    ours, theirs = network(), network()
    data = examples(32)
    # In `fit` a layer in inference mode is one that is not trainable; here all layers are in inference mode.
    ours.get_layer("norm").trainable = theirs.get_layer("norm").trainable = False
    theirs.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True))
    train(ours, data, optimizer="sgd", epochs=2, batch_size=32)
    for epoch in range(2):
        theirs.fit(data.read(np.arange(32), epoch).astype(np.float32), data.labels, batch_size=32, verbose=0)
    assert_same_weights(ours, theirs)


def test_frozen_layers_and_statistics_stay_and_all_other_weights_change():
    model = network()
    before = {weight.path: weight.numpy() for weight in model.weights}
    train(model, examples(), examples(seed=1), weight_decay=0.01)
    changed = {weight.path for weight in model.weights if not np.array_equal(before[weight.path], weight)}
    assert changed == {weight.path for weight in model.trainable_weights}
    assert not any("frozen" in path or "moving" in path for path in changed)


def rates(**settings):
    """Return the learning rate of each epoch; 50 examples in batches of 8 are 7 steps an epoch."""
    return [row["learning_rate"] for row in train(network(), examples(), **settings)]


def test_the_learning_rate_in_the_history_is_that_of_the_epochs_last_step():
    assert rates() == pytest.approx([0.01] * 3)
    # Of 28 steps, the first 14 are warm-up.
    rising = 0.01 * (1 / 14 + 13 / 14 * np.array([6 / 14, 13 / 14]))
    assert rates(epochs=4, warmup=0.5) == pytest.approx([*rising, 0.01, 0.01])
    # The first 7 are.
    first, *falling = rates(epochs=4, schedule="cosine", warmup=0.25)
    assert first == pytest.approx(0.01 * (1 / 7 + 6 / 7 * 6 / 7))
    assert falling == pytest.approx([0.005 * (1 + np.cos(np.pi * step / 21)) for step in (6, 13, 20)], rel=1e-3)


def test_plateau_lowers_the_rate_tenfold_when_the_validation_loss_does_not_fall():
    history = train(network(), examples(), contrary_examples(), schedule="plateau", plateau_patience=1)
    assert all(row["val_loss"] > history[0]["val_loss"] for row in history[1:])
    assert [row["learning_rate"] for row in history] == pytest.approx([0.01, 0.01, 0.001])


def test_mixup_trains_on_weighted_means_of_two_maps_and_their_labels():
    ours, theirs = network(), network()
    data = examples(16)
    ours.get_layer("norm").trainable = theirs.get_layer("norm").trainable = False
    train(ours, data, optimizer="sgd", epochs=1, batch_size=16, mixup=0.4, seed=3)
    weight = next(mixup_weights(0, 0.4, 3))
    assert 0.5 < weight < 0.95
    order = np.random.default_rng([3, 0]).permutation(16)
    whole = data.read(order, 0).astype(np.float32), np.eye(CLASSES, dtype=np.float32)[data.labels[order]]
    maps, targets = (weight * values + (1 - weight) * np.roll(values, 1, axis=0) for values in whole)
    theirs.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.CategoricalCrossentropy(True))
    theirs.fit(maps, targets, batch_size=16, verbose=0)
    assert_same_weights(ours, theirs)


def test_no_epochs_leave_the_network_as_it_is():
    model = network()
    assert train(model, examples(), examples(seed=1), epochs=0) == []
    assert digest(model) == digest(network())


def test_training_stops_after_patience_epochs_without_a_better_one():
    history = train(network(), examples(), contrary_examples(), patience=2, epochs=10, monitor="val_loss")
    losses = [row["val_loss"] for row in history]
    assert len(losses) == losses.index(min(losses)) + 3


def validation_figures(model, held_out):
    outputs = logits(model, held_out)
    return {
        "val_loss": float(keras.losses.SparseCategoricalCrossentropy(True)(held_out.labels, outputs)),
        "val_accuracy": float(np.mean(outputs.argmax(axis=1) == held_out.labels)),
    }


def test_without_a_monitor_the_last_epochs_weights_are_kept():
    model = network()
    history = train(model, examples(), contrary_examples())
    assert history[-1]["val_loss"] > history[0]["val_loss"]
    found = validation_figures(model, contrary_examples())
    assert found["val_loss"] == pytest.approx(history[-1]["val_loss"], abs=1e-5)


@pytest.mark.parametrize(("monitor", "best", "ema"), [("val_loss", min, 0.9), ("val_accuracy", max, 0.0)])
def test_the_weights_of_the_best_epoch_are_kept(monitor, best, ema):
    model, held_out = network(), examples(seed=1)
    history = train(model, examples(), held_out, epochs=6, lr=0.3, monitor=monitor, ema=ema)
    found = validation_figures(model, held_out)
    assert found[monitor] == pytest.approx(best(row[monitor] for row in history), abs=1e-5)


def test_validation_without_a_monitor_does_not_change_training():
    without, validated = network(), network()
    history = train(without, examples())
    train(validated, examples(), examples(seed=1))
    assert set(history[0]) == {"epoch", "learning_rate", "loss", "accuracy"}
    assert digest(without) == digest(validated) != digest(network())


@functools.cache
def way(ema, epochs):
    """Return how far the weights have gone in small steps downhill: straight ahead, and at one speed."""
    model = network()
    train(model, examples(), epochs=epochs, ema=ema, optimizer="sgd", momentum=0.0, lr=1e-4)
    ends = zip(model.trainable_weights, network().trainable_weights, strict=True)
    return sum(float(np.abs(np.subtract(end, begin)).sum()) for end, begin in ends)


@pytest.mark.parametrize("epochs", [3, 12])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_the_average_lags_behind_the_weights_by_its_share_however_many_steps_there_are(epochs, share):
    # The mean age of what is averaged, as a share of all steps: weights of an age count exp(-age / share), up to age 1.
    age = share * (1 - np.exp(-1 / share))
    assert way(share, epochs) / way(0.0, epochs) == pytest.approx(1 - age, abs=0.04)


def test_weight_decay_shrinks_kernels_and_not_biases():
    model = network()
    model.get_layer("head").set_weights([np.ones((8, CLASSES)), np.ones(CLASSES)])
    # At this rate the gradients change nothing that float32 can tell from 1.
    settings = fine_tune_settings(epochs=1).model_copy(update={"weight_decay": 1e7})
    loop.train(model, examples(), None, settings, lr=1e-9, seed=0)
    kernel, bias = model.get_layer("head").get_weights()
    assert (kernel < 0.95).all()
    np.testing.assert_array_equal(bias, np.ones(CLASSES, np.float32))


def test_label_smoothing_and_dropout_raise_the_training_loss_only():
    trained = network()
    train(trained, examples(), epochs=20, lr=0.02)

    def first_epoch(**settings):
        # At a rate at which the network does not change.
        model = network()
        model.set_weights(trained.get_weights())
        return train(model, examples(), examples(), epochs=1, lr=1e-9, **settings)[0]

    plain, smoothed, dropped = first_epoch(), first_epoch(label_smoothing=0.5), first_epoch(dropout=0.5)
    assert smoothed["loss"] > 1.01 * plain["loss"]
    assert dropped["loss"] > 1.01 * plain["loss"]
    assert smoothed["val_loss"] == pytest.approx(plain["val_loss"]) == pytest.approx(dropped["val_loss"])


def test_each_step_drops_other_features():
    one = Examples(lambda rows, epoch: np.ones((len(rows), 4, 4, 2), np.float32), np.zeros(1, int))
    losses = [row["loss"] for row in train(network(), one, epochs=6, batch_size=1, lr=1e-9, dropout=0.5)]
    assert len(set(losses)) > 3


def test_an_epoch_reads_every_example_in_full_batches_and_a_new_order():
    data, seen = examples(20), []

    def read(rows, epoch):
        seen.append((epoch, rows))
        return data.read(rows, epoch)

    train(network(), Examples(read, data.labels), epochs=2)
    assert [len(rows) for _, rows in seen] == [8] * 6
    orders = [np.concatenate([rows for at, rows in seen if at == epoch])[:20] for epoch in (0, 1)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert list(orders[0]) != list(orders[1])


def test_examples_that_fill_up_the_last_batch_do_not_count():
    exact, filled = network(), network()
    first = train(exact, examples(6), epochs=1, lr=0.1, batch_size=6)
    second = train(filled, examples(6), epochs=1, lr=0.1, batch_size=8)
    assert first[0] == pytest.approx(second[0], rel=1e-4)
    assert_same_weights(exact, filled, tolerance=1e-4)


def test_logits_are_the_models_own_in_the_order_of_the_examples():
    model, data = network(), examples(21)
    expected = model.predict(data.read(np.arange(21), 0).astype(np.float32), verbose=0)
    np.testing.assert_allclose(logits(model, data, batch_size=8), expected, atol=1e-5)


def test_logits_are_those_of_each_choice_of_weights_and_the_network_stays_as_it_is():
    model, choices = network(2), [network(seed).get_weights() for seed in (0, 1)]
    before = digest(model)
    found = list(loop.logits(model, choices, examples(), batch_size=8))
    assert digest(model) == before
    maps = examples().read(np.arange(50), 0).astype(np.float32)
    for seed, outputs in enumerate(found):
        np.testing.assert_allclose(outputs, network(seed)(maps, training=False), atol=1e-4)


def test_a_loss_that_is_no_number_stops_training_and_names_the_key_to_change():
    with pytest.raises(GraftError, match=r"^lr: at a learning rate of 3e\+38 the loss is (nan|inf); try a smaller lr$"):
        train(network(), examples(), optimizer="sgd", lr=3e38, epochs=9)


def test_weights_of_the_last_step_that_give_no_number_stop_training_too():
    # One step: its own loss is that of the weights before it.
    with pytest.raises(GraftError, match=r"^lr: at a learning rate of 3e\+38 the loss is (nan|inf); try a smaller lr$"):
        train(network(), examples(), examples(seed=1), optimizer="sgd", lr=3e38, epochs=1, batch_size=64)


def test_an_error_while_reading_reaches_the_caller():
    def read(rows, epoch):
        raise GraftError("store: gone")

    with pytest.raises(GraftError, match="store: gone"):
        train(network(), Examples(read, np.zeros(8, int)))


def test_each_row_is_reported_as_soon_as_it_is_there():
    epochs_read, rows = [], []
    data = examples()

    def read(chosen, epoch):
        epochs_read.append(epoch)
        return data.read(chosen, epoch)

    history = train(network(), Examples(read, data.labels), on_epoch=lambda row: rows.append((row, max(epochs_read))))
    assert rows == list(zip(history, range(3), strict=True))
    assert [row["epoch"] for row in history] == [1, 2, 3]


def test_a_log_for_tensorboard_is_written_on_demand(tmp_path):
    pytest.importorskip("tensorboard")
    train(network(), examples(), examples(seed=1), log_folder=tmp_path / "logs")
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["train", "validation"]


def trained_digest():
    model = network()
    train(model, examples(), examples(seed=1), dropout=0.2, ema=0.9, weight_decay=0.01, label_smoothing=0.1, mixup=0.2)
    return digest(model)


def test_two_processes_train_the_same_weights_to_the_last_bit():
    # This one trains another network first, which must not matter either.
    train(network(seed=7), examples(seed=7), epochs=1, dropout=0.1)
    other = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True)
    assert trained_digest() == other.stdout.strip()


def test_training_in_bfloat16_learns_the_same_and_repeats_to_the_last_bit():
    digests, losses = [], []
    for precision in ("float32", "bfloat16", "bfloat16"):
        model = network()
        history = train(model, examples(), examples(seed=1), epochs=20, schedule="cosine", precision=precision)
        digests.append(digest(model))
        losses.append(history[-1]["val_loss"])
    assert digests[0] != digests[1] == digests[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_another_seed_gives_another_order_and_other_weights():
    digests = set()
    for seed in (0, 1):
        model = network()
        train(model, examples(), seed=seed)
        digests.add(digest(model))
    assert len(digests) == 2


if __name__ == "__main__":
    print(trained_digest())
