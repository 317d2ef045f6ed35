"""Heads of Keras layers compute what their arrays do, and training gives the same weights each time."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import own_parameters
import pytest
from tensorflow import make_ndarray

from graft.core.errors import GraftError
from graft.heads.dense import Batches, fit
from graft.heads.layers import head_logits, initial_head
from graft.settings import params
from graft.settings.initializers import INITIALIZERS
from graft.settings.optimizers import OPTIMIZERS
from graft.settings.schedules import SCHEDULES

ROOT = Path(__file__).parent.parent
CLASSES = 3
MAP = (2, 2, 4)
DEFAULTS = own_parameters.VALUES["head"]


def settings(**changes):
    return params.Head(**DEFAULTS | {"kind": "mlp", "epochs": 4, "batch_size": 8} | changes)


def examples(count=30, seed=0, shape=MAP):
    """Features whose mean tells the class."""
    labels = np.arange(count) % CLASSES
    noise = np.random.default_rng(seed).normal(0, 0.3, (count, *shape))
    return (noise + labels.reshape(-1, *[1] * len(shape)) - 1).astype(np.float32), labels


def batches(seed=0, size=8, shuffled=0, shape=MAP):
    features, labels = examples(seed=seed, shape=shape)
    return Batches(lambda rows, epoch: features[rows], labels, size, shuffled)


def contradicting_validation():
    """Return a validation part with other labels than the training part: each epoch is worse on it than the last."""
    features, labels = examples()
    return Batches(lambda rows, epoch: features[rows], (labels + 1) % CLASSES, 8, None)


def fitted(chosen, shape=MAP, train=None, seed=0, **options):
    start = initial_head(shape, CLASSES, chosen, seed)
    validation = batches(1, shuffled=None, shape=shape)
    return fit(start, shape, train or batches(shape=shape), validation, chosen, seed, **options)


def arrays(head):
    return [array for layer in (*head.block, *head.dense) for array in layer]


def accuracy(head, shape=MAP):
    features, labels = examples(seed=2, shape=shape)
    return (head.logits(features).argmax(axis=1) == labels).mean()


KINDS = {
    "one layer": settings(),
    "two hidden layers": settings(widths=[6, 5]),
    "se": settings(kind="se", ratio=2),
    "se with hidden layer": settings(kind="se", widths=[6], pooling="avg+max"),
    "se flattened": settings(kind="se", pooling="none"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_keras_layers_compute_what_the_arrays_do(kind):
    head = initial_head(MAP, CLASSES, KINDS[kind], seed=3)
    maps = keras.Input(MAP)
    features, _ = examples()
    outputs = keras.Model(maps, head_logits(maps, head))(features)
    np.testing.assert_allclose(outputs, head.logits(features), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_separable_classes(kind):
    head, _ = fitted(KINDS[kind].model_copy(update={"epochs": 20, "lr": 0.02}))
    assert accuracy(head) > 0.9
    assert head.kind == KINDS[kind].kind


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_separable_classes(optimizer):
    head, _ = fitted(settings(optimizer=optimizer, epochs=20, lr=0.02))
    assert accuracy(head) > 0.9


def test_pooled_features_are_taken_as_they_are():
    head, _ = fitted(settings(widths=[8], epochs=20, lr=0.02), shape=(5,))
    assert [kernel.shape for kernel, _ in head.dense] == [(5, 8), (8, 3)]
    assert accuracy(head, shape=(5,)) > 0.9


def test_the_bottleneck_has_a_unit_for_as_many_channels_as_ratio_says():
    kernels = [initial_head((1, 1, 8), 2, settings(kind="se", ratio=ratio), 0).block[0][0] for ratio in (1, 4, 100)]
    assert [kernel.shape for kernel in kernels] == [(8, 8), (8, 2), (8, 1)]


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_every_initializer_gives_its_own_kernels_for_a_seed(initializer):
    first, again, other = (
        initial_head((50,), 2, settings(initializer=initializer), seed).dense[0][0] for seed in (0, 0, 1)
    )
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_the_truncated_normal_is_that_of_the_flowers_tutorial():
    kernel = initial_head((10_000,), 2, settings(initializer="truncated_normal"), 0).dense[0][0]
    assert np.abs(kernel).max() <= 0.1  # two standard deviations of 0.05
    assert np.abs(kernel).max() > 0.09


def test_two_layers_of_one_shape_have_different_kernels():
    head = initial_head((4,), 4, settings(widths=[4]), 0)
    assert not np.array_equal(head.dense[0][0], head.dense[1][0])


def test_an_l2_penalty_shrinks_the_kernels():
    sizes = [sum(np.abs(kernel).sum() for kernel, _ in fitted(settings(l2=l2))[0].dense) for l2 in (0.0, 1.0)]
    assert sizes[1] < sizes[0]


def test_dropout_is_before_the_layers_that_it_is_given_for():
    plain, first, both = (arrays(fitted(settings(widths=[6], dropout=d))[0]) for d in (0.0, [0.5, 0.0], 0.5))
    assert not np.array_equal(plain[0], first[0])
    assert not np.array_equal(first[0], both[0])


def test_the_weights_of_the_best_epoch_on_validation_are_kept():
    chosen = settings(lr=0.01)
    start = initial_head(MAP, CLASSES, chosen, 0)
    head, epoch = fit(start, MAP, batches(), contradicting_validation(), chosen, 0)
    once, _ = fit(start, MAP, batches(), contradicting_validation(), settings(lr=0.01, epochs=1), 0)
    assert epoch == 1
    for array, expected in zip(arrays(head), arrays(once), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_training_stops_after_patience_epochs_without_a_better_one():
    features, labels = examples()
    seen = set()

    def read(rows, epoch):
        seen.add(epoch)
        return features[rows]

    chosen = settings(lr=0.01, epochs=9, patience=2)
    fit(initial_head(MAP, CLASSES, chosen, 0), MAP, Batches(read, labels, 8, 0), contradicting_validation(), chosen, 0)
    assert max(seen) < 4


def rates(folder):
    """Return the learning rate of each epoch, as TensorBoard's log has it."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = event_accumulator.EventAccumulator(str(folder / "train"), {"tensors": 0})
    log.Reload()
    return [float(make_ndarray(event.tensor_proto)) for event in log.Tensors("epoch_learning_rate")]


def test_the_log_has_the_rate_of_the_schedule(tmp_path):
    for schedule in SCHEDULES:
        chosen = settings(schedule=schedule, lr=0.01, warmup=0.25)
        fitted(chosen, log_folder=tmp_path / schedule)
    # 30 examples in batches of 8 are 4 steps; the first 4 of 16 warm up. The log has the rate of the step to come.
    assert rates(tmp_path / "constant") == pytest.approx([0.01] * 4)
    falling = [0.005 * (1 + np.cos(np.pi * step / 12)) for step in (0, 4, 8, 12)]
    assert rates(tmp_path / "cosine") == pytest.approx(falling, abs=1e-6)


def test_plateau_lowers_the_rate_tenfold_when_the_validation_loss_does_not_fall(tmp_path):
    chosen = settings(schedule="plateau", plateau_patience=1, lr=0.01)
    fit(initial_head(MAP, CLASSES, chosen, 0), MAP, batches(), contradicting_validation(), chosen, 0, tmp_path)
    assert rates(tmp_path) == pytest.approx([0.01, 0.01, 0.001, 0.0001])


def test_label_smoothing_gives_less_certain_probabilities():
    unsure, sure = (
        fitted(settings(label_smoothing=share, epochs=40, lr=0.05))[0].logits(examples()[0]) for share in (0.5, 0.0)
    )
    assert np.ptp(unsure, axis=1).mean() < 0.7 * np.ptp(sure, axis=1).mean()
    # Half of a label spread over three classes: the best logits have a distance of log((1/2 + 1/6) / (1/6)).
    assert np.ptp(unsure, axis=1).mean() == pytest.approx(np.log(4), abs=0.4)


def test_the_ema_of_the_weights_is_kept():
    # The longer it looks back, the nearer it is to where training started.
    start = initial_head(MAP, CLASSES, settings(lr=0.01), 0)
    heads = [arrays(fitted(settings(ema=share, lr=0.01))[0]) for share in (0.9, 0.3, 0.0)]
    gone = [np.linalg.norm(head[0] - arrays(start)[0]) for head in heads]
    assert 0 < gone[0] < 0.55 * gone[2]
    assert gone[0] < gone[1] < 0.85 * gone[2]


def test_an_epoch_reads_every_example_once_in_a_new_order_and_in_its_own_epoch():
    _, labels = examples()
    data = Batches(lambda rows, epoch: np.stack([rows, np.full(len(rows), epoch)]), labels, 8, seed=0)
    orders = []
    for epoch in range(3):
        data.start(epoch)
        read = [data[index] for index in range(len(data))]
        assert {number for (_, epochs), _ in read for number in epochs} == {epoch}
        orders.append(np.concatenate([rows for (rows, _), _ in read]))
        np.testing.assert_array_equal(np.concatenate([label for _, label in read]), labels[orders[-1]])
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_keras_reads_each_epoch_of_the_data():
    features, labels = examples()
    counts = np.zeros((4, 30), int)

    def read(rows, epoch):
        counts[epoch, rows] += 1
        return features[rows]

    fitted(settings(), train=Batches(read, labels, 8, 0))
    # Before the first epoch it looks at two batches, for their shapes.
    assert (counts[1:] == 1).all()
    assert set(counts[0]) == {1, 2}


def test_a_loss_that_is_no_number_stops_with_the_key_to_change():
    with pytest.raises(GraftError, match=r"^head\.lr: at a learning rate of 3e\+38 the loss is (nan|inf); try a small"):
        fitted(settings(optimizer="sgd", widths=[6]).model_copy(update={"lr": 3e38}))


def test_weights_of_the_last_step_that_give_no_number_stop_training_too():
    # One step: its own loss is that of the weights before it.
    with pytest.raises(GraftError, match=r"^head\.lr: at a learning rate of 3e\+38 the loss is (nan|inf); try a small"):
        fitted(settings(optimizer="sgd", widths=[6], epochs=1).model_copy(update={"lr": 3e38}), train=batches(size=30))


def test_a_log_for_tensorboard_is_written_on_demand(tmp_path):
    pytest.importorskip("tensorboard")
    fitted(settings(), log_folder=tmp_path / "logs")
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["train", "validation"]


def trained_bytes():
    trained, _ = fitted(settings(kind="se", widths=[6], dropout=0.5, l2=0.01, optimizer="adamw"))
    return b"".join(array.tobytes() for array in arrays(trained))


def test_two_processes_train_the_same_weights_to_the_last_bit():
    # What a process did before must not matter either: this one trains something else first.
    fitted(settings(dropout=0.1), seed=7)
    command = [sys.executable, __file__]
    other = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert len(other.stdout) > 100
    assert trained_bytes() == other.stdout


if __name__ == "__main__":
    sys.stdout.buffer.write(trained_bytes())
