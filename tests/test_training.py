"""Training on cached maps: what is learnt, what stays, and that the same arguments give the same weights."""

import hashlib
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.training import loop
from graft.training.loop import Examples, Settings, train

CLASSES = 3
ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def network(seed=0):
    """A top with all that a real one has: a frozen layer, BatchNorm, depthwise and 1x1 convolutions, a residual."""

    def drawn(number):
        return keras.initializers.GlorotUniform(seed=100 * seed + number)

    maps = keras.Input((4, 4, 2))
    frozen = keras.layers.Conv2D(6, 1, name="frozen", trainable=False, kernel_initializer=drawn(1))(maps)
    x = keras.layers.BatchNormalization(name="norm")(frozen)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=drawn(2))(x)
    x = keras.layers.Conv2D(6, 1, activation="relu6", kernel_initializer=drawn(3))(x)
    x = keras.layers.Add()([x, frozen])
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6", kernel_initializer=drawn(4))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(maps, keras.layers.Dense(CLASSES, name="head", kernel_initializer=drawn(5))(x))


def examples(count=50, seed=0):
    """Maps whose brightness and contrast tell the class; a view is the map with a little noise of its own."""
    labels = np.arange(count) % CLASSES
    generator = np.random.default_rng(seed)
    maps = (generator.normal(size=(count, 4, 4, 2)) * 0.2 + labels[:, None, None, None]).astype(np.float16)

    def read(rows, epoch):
        return maps[rows] + np.float16(0.01 * epoch)

    return Examples(read, labels)


def settings(**changes):
    return Settings(**{"learning_rate": 0.01, "epochs": 3, "batch_size": 8} | changes)


def logits(model, of, **options):
    """Return a network's logits with the weights that it has."""
    return next(loop.logits(model, [model.get_weights()], of, **options))


def digest(model):
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


@pytest.mark.parametrize("optimizer", sorted(loop.OPTIMIZERS))
def test_every_optimizer_learns_separable_classes(optimizer):
    model = network()
    history = train(model, examples(), examples(seed=1), settings(optimizer=optimizer, epochs=20, learning_rate=0.02))
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["val_accuracy"] for row in history) > 0.9


@pytest.mark.parametrize(("optimizer", "changes"), [("adam", 1), ("adamw", 1), ("rmsprop", 2), ("sgd", 2)])
def test_momentum_is_of_sgd_and_rmsprop(optimizer, changes):
    digests = set()
    for momentum in (0.0, 0.5):
        model = network()
        train(model, examples(), None, settings(optimizer=optimizer, momentum=momentum, epochs=1))
        digests.add(digest(model))
    assert len(digests) == changes


def test_training_is_what_keras_fit_does():
    ours, theirs = network(), network()
    data = examples(32)
    # A layer that is not trainable is in inference mode in `fit`, where it always is here.
    ours.get_layer("norm").trainable = theirs.get_layer("norm").trainable = False
    theirs.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True))
    train(ours, data, None, settings(optimizer="sgd", schedule="constant", epochs=2, batch_size=32))
    for epoch in range(2):
        theirs.fit(data.read(np.arange(32), epoch).astype(np.float32), data.labels, batch_size=32, verbose=0)
    for our_weight, their_weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our_weight, their_weight, atol=1e-5)


def test_frozen_layers_and_statistics_stay_and_all_else_moves():
    model = network()
    before = {weight.path: weight.numpy() for weight in model.weights}
    train(model, examples(), examples(seed=1), settings(weight_decay=0.01))
    moved = {weight.path for weight in model.weights if not np.array_equal(before[weight.path], weight)}
    assert moved == {weight.path for weight in model.trainable_weights}
    assert not any("frozen" in path or "moving" in path for path in moved)


def test_the_learning_rate_in_the_history_is_the_one_used():
    constant = train(network(), examples(), None, settings(schedule="constant"))
    assert [row["learning_rate"] for row in constant] == pytest.approx([0.01] * 3)
    # 50 examples in batches of 8 are 7 steps; the first 7 of 28 warm up, and the first 14.
    risen = train(network(), examples(), None, settings(epochs=4, schedule="constant", warmup=0.5))
    rising = 0.01 * (1 / 14 + 13 / 14 * np.array([6 / 14, 13 / 14]))
    assert [row["learning_rate"] for row in risen] == pytest.approx([*rising, 0.01, 0.01])
    cosine = train(network(), examples(), None, settings(epochs=4, warmup=0.25))
    used = [row["learning_rate"] for row in cosine]
    assert used[0] == pytest.approx(0.01 * (1 / 7 + 6 / 7 * 6 / 7))
    assert used[1:] == pytest.approx([0.005 * (1 + np.cos(np.pi * step / 21)) for step in (6, 13, 20)], rel=1e-3)


def test_plateau_lowers_the_rate_tenfold_when_the_validation_loss_does_not_fall():
    contrary = examples()._replace(labels=(examples().labels + 1) % CLASSES)
    history = train(network(), examples(), contrary, settings(schedule="plateau", plateau_patience=1))
    assert all(row["val_loss"] > history[0]["val_loss"] for row in history[1:])
    assert [row["learning_rate"] for row in history] == pytest.approx([0.01, 0.01, 0.001])


def test_mixed_examples_are_learnt_from_as_shares_of_two_maps_and_two_labels(monkeypatch):
    monkeypatch.setattr(loop, "_mixing_shares", lambda epoch, settings: itertools.repeat(np.float32(0.75)))
    ours, theirs = network(), network()
    data = examples(16)
    ours.get_layer("norm").trainable = theirs.get_layer("norm").trainable = False
    mixed = settings(optimizer="sgd", schedule="constant", epochs=1, batch_size=16, mixup=0.4)
    train(ours, data, None, mixed)
    order = np.random.default_rng([mixed.seed, 0]).permutation(16)
    whole = data.read(order, 0).astype(np.float32), np.eye(CLASSES, dtype=np.float32)[data.labels[order]]
    maps, targets = (0.75 * values + 0.25 * np.roll(values, 1, axis=0) for values in whole)
    theirs.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.CategoricalCrossentropy(True))
    theirs.fit(maps, targets, batch_size=16, verbose=0)
    for our_weight, their_weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our_weight, their_weight, atol=1e-5)


def test_the_shares_of_mixup_are_drawn_for_each_step_and_an_example_keeps_the_larger_part():
    def shares(**changes):
        return list(itertools.islice(loop._mixing_shares(2, settings(mixup=0.2, **changes)), 50))

    assert shares() == shares() != shares(seed=1)
    assert all(0.5 <= share <= 1 for share in shares())
    assert len(set(shares())) > 40


def test_no_epochs_leave_the_network_as_it_is():
    model = network()
    before = model.get_weights()
    assert train(model, examples(), examples(seed=1), settings(epochs=0)) == []
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))


def test_training_stops_after_patience_epochs_without_a_better_one():
    contrary = examples()._replace(labels=(examples().labels + 1) % CLASSES)
    history = train(
        network(), examples(), contrary, settings(patience=2, epochs=10, schedule="constant", monitor="val_loss")
    )
    losses = [row["val_loss"] for row in history]
    assert len(losses) == losses.index(min(losses)) + 3


def test_without_a_monitor_the_last_epochs_weights_are_kept():
    contrary = examples()._replace(labels=(examples().labels + 1) % CLASSES)
    model = network()
    history = train(model, examples(), contrary, settings(schedule="constant"))
    assert history[-1]["val_loss"] > history[0]["val_loss"]
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss_of(contrary.labels, logits(model, contrary))) == pytest.approx(history[-1]["val_loss"], abs=1e-5)


@pytest.mark.parametrize(("monitor", "best", "average"), [("val_loss", min, 0.9), ("val_accuracy", max, 0.0)])
def test_the_weights_of_the_best_epoch_are_kept(monitor, best, average):
    model, held_out = network(), examples(seed=1)
    noisy = settings(epochs=6, learning_rate=0.3, schedule="constant", monitor=monitor, average=average)
    history = train(model, examples(), held_out, noisy)
    outputs = logits(model, held_out)
    found = {
        "val_loss": float(keras.losses.SparseCategoricalCrossentropy(True)(held_out.labels, outputs)),
        "val_accuracy": float(np.mean(outputs.argmax(axis=1) == held_out.labels)),
    }
    assert found[monitor] == pytest.approx(best(row[monitor] for row in history), abs=1e-5)


def test_without_validation_or_a_monitor_the_last_epoch_is_kept():
    unjudged, judged = network(), network()
    history = train(unjudged, examples(), None, settings(schedule="constant"))
    train(judged, examples(), examples(seed=1), settings(schedule="constant"))
    assert set(history[0]) == {"epoch", "learning_rate", "loss", "accuracy"}
    assert digest(unjudged) == digest(judged) != digest(network())


@pytest.mark.parametrize("epochs", [3, 12])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_the_average_lags_behind_the_weights_by_its_share_however_many_steps_there_are(epochs, share):
    def way(average):
        """Return how far the weights have gone in small steps downhill: straight ahead, and at one speed."""
        model = network()
        descent = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1e-4, "schedule": "constant"}
        train(model, examples(), None, settings(epochs=epochs, average=average, **descent))
        ends = zip(model.trainable_weights, network().trainable_weights, strict=True)
        return sum(float(np.abs(np.subtract(end, begin)).sum()) for end, begin in ends)

    # The mean age, as a share of all steps, of what fades as exp(-age / share) and is 1 old at most.
    age = share * (1 - np.exp(-1 / share))
    assert way(share) / way(0.0) == pytest.approx(1 - age, abs=0.04)


def test_weight_decay_shrinks_kernels_and_spares_biases():
    start, decayed = network(), network()
    for model in (start, decayed):
        model.get_layer("head").set_weights([np.ones((8, CLASSES)), np.ones(CLASSES)])
    # A rate so small that the gradients move nothing that float32 can tell from 1.
    train(decayed, examples(), None, settings(learning_rate=1e-9, schedule="constant", weight_decay=1e7, epochs=1))
    kernel, bias = decayed.get_layer("head").get_weights()
    assert (kernel < 0.95).all()
    np.testing.assert_array_equal(bias, np.ones(CLASSES, np.float32))


def test_label_smoothing_and_dropout_raise_the_training_loss_only():
    def first_epoch(**changes):
        # Of a network that is sure of its answers, and learns no more.
        model = network()
        train(model, examples(), None, settings(epochs=20, learning_rate=0.02))
        return train(model, examples(), examples(), settings(epochs=1, learning_rate=1e-9, **changes))[0]

    plain, smoothed, dropped = first_epoch(), first_epoch(label_smoothing=0.5), first_epoch(dropout=0.5)
    assert smoothed["loss"] > 1.01 * plain["loss"]
    assert dropped["loss"] > 1.01 * plain["loss"]
    assert smoothed["val_loss"] == pytest.approx(plain["val_loss"]) == pytest.approx(dropped["val_loss"])


def test_an_epoch_reads_every_example_in_full_batches_and_a_new_order():
    data, seen = examples(20), []

    def read(rows, epoch):
        seen.append((epoch, rows))
        return data.read(rows, epoch)

    train(network(), Examples(read, data.labels), None, settings(epochs=2))
    assert [len(rows) for _, rows in seen] == [8] * 6
    orders = [np.concatenate([rows for at, rows in seen if at == epoch])[:20] for epoch in (0, 1)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert list(orders[0]) != list(orders[1])


def test_what_fills_up_the_last_batch_does_not_count():
    exact, filled = network(), network()
    once = settings(epochs=1, learning_rate=0.1, schedule="constant")
    first = train(exact, examples(6), None, settings(epochs=1, learning_rate=0.1, schedule="constant", batch_size=6))
    second = train(filled, examples(6), None, once)
    assert first[0] == pytest.approx(second[0], rel=1e-4)
    for weight, other in zip(exact.get_weights(), filled.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_logits_are_the_models_own_in_the_order_of_the_examples():
    model, data = network(), examples(21)
    expected = model.predict(data.read(np.arange(21), 0).astype(np.float32), verbose=0)
    np.testing.assert_allclose(logits(model, data, batch_size=8), expected, atol=1e-5)


def test_a_loss_that_is_no_number_stops_with_the_key_to_change():
    with pytest.raises(GraftError, match=r"^lr: at a learning rate of 3e\+38 the loss is (nan|inf); try a smaller lr$"):
        train(network(), examples(), None, settings(schedule="constant", optimizer="sgd", learning_rate=3e38, epochs=9))


def test_a_fault_while_reading_reaches_the_caller():
    def read(rows, epoch):
        raise GraftError("store: gone")

    with pytest.raises(GraftError, match="store: gone"):
        train(network(), Examples(read, np.zeros(8, int)), None, settings())


def test_reading_goes_on_while_the_batch_before_is_computed():
    threads = set()
    data = examples()

    def read(rows, epoch):
        threads.add(threading.current_thread())
        return data.read(rows, epoch)

    train(network(), Examples(read, data.labels), None, settings(epochs=1))
    assert threading.main_thread() not in threads


def test_each_row_is_told_as_it_is_ready():
    told = []
    history = train(network(), examples(), None, settings(), on_epoch=told.append)
    assert told == history
    assert [row["epoch"] for row in told] == [1, 2, 3]


def test_a_log_for_tensorboard_is_written_on_demand(tmp_path):
    pytest.importorskip("tensorboard")
    train(network(), examples(), examples(seed=1), settings(log_folder=tmp_path / "logs"))
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["train", "validation"]


def test_two_processes_train_the_same_weights_to_the_last_bit():
    # What a process did before must not matter either: the second one trains something else first.
    commands = [[sys.executable, __file__, before] for before in ("0", "1")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=ENVIRONMENT) for command in commands]
    first, second = (process.communicate()[0] for process in processes)
    assert len(first) == 65
    assert first == second


def test_training_in_bfloat16_learns_the_same_and_repeats_to_the_last_bit():
    digests, losses = [], []
    for precision in ("float32", "bfloat16", "bfloat16"):
        model = network()
        history = train(model, examples(), examples(seed=1), settings(epochs=20, precision=precision))
        digests.append(digest(model))
        losses.append(history[-1]["val_loss"])
    assert digests[0] != digests[1] == digests[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_another_seed_gives_another_order_and_other_weights():
    digests = set()
    for seed in (0, 1):
        model = network()
        train(model, examples(), None, settings(seed=seed))
        digests.add(digest(model))
    assert len(digests) == 2


def test_blended_weights_lie_on_the_line_between_two_networks():
    start, end = network(0).get_weights(), network(1).get_weights()
    quarter = loop.blended(start, end, 0.25)
    for one, other, between in zip(start, end, quarter, strict=True):
        np.testing.assert_allclose(between, one + (other - one) / 4, atol=1e-6)
    for share, expected in ((0, start), (1, end)):
        for weight, same in zip(loop.blended(start, end, share), expected, strict=True):
            np.testing.assert_array_equal(weight, same)


def test_logits_are_those_of_each_choice_of_weights_and_the_network_stays_as_it_is():
    model, choices = network(2), [network(seed).get_weights() for seed in (0, 1)]
    before = digest(model)
    found = list(loop.logits(model, choices, examples(), batch_size=8))
    assert digest(model) == before
    maps = examples().read(np.arange(50), 0).astype(np.float32)
    for seed, outputs in enumerate(found):
        np.testing.assert_allclose(outputs, network(seed)(maps, training=False), atol=1e-4)


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        train(network(seed=7), examples(seed=7), None, settings(epochs=1, dropout=0.1))
    trained = network()
    every_option = settings(dropout=0.2, average=0.9, weight_decay=0.01, label_smoothing=0.1, optimizer="adamw")
    train(trained, examples(), examples(seed=1), every_option)
    print(digest(trained))
