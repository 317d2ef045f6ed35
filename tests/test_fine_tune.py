"""Which views fine-tuning reads, how many epochs it takes, and how far from the head it goes."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutral_settings import fine_tune_settings

from graft.activations.requests import Request
from graft.images.view_order import view_in_epoch
from graft.scores import metrics
from graft.scores.loss import softmax
from graft.training.batches import Examples
from graft.training.fine_tune import (
    SHARES,
    EpochBlocks,
    examples,
    fine_tune,
    interpolate,
    kept_epoch,
    outcome,
    resolved_settings,
    weights_between,
)

MAPS = np.random.default_rng(0).normal(size=(200, 2, 2, 3)).astype(np.float32)


def network(kernel):
    """A top that pools a map, with a head of this kernel."""
    maps = keras.Input((2, 2, 3))
    model = keras.Model(maps, keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling2D()(maps)))
    model.set_weights([np.array(kernel, np.float32), np.zeros(2, np.float32)])
    return model


def logits_of(model):
    return np.asarray(model(MAPS, training=False))


def validation_right_by(kernel):
    """Images labelled with the class that a head of this kernel gives them."""
    return Examples(lambda rows, epoch: MAPS[rows], logits_of(network(kernel)).argmax(axis=1))


START, END = [[4, 0], [0, 4], [0, 0]], [[0, 4], [0, 0], [4, 0]]


def epochs_of(setting, images, batch_size):
    return resolved_settings(fine_tune_settings(epochs=setting, batch_size=batch_size), images).epochs


@pytest.mark.parametrize(("images", "epochs"), [(1, 300), (64, 300), (65, 150), (1220, 15), (2496, 8), (100_000, 8)])
def test_auto_is_eight_epochs_or_with_few_images_three_hundred_steps(images, epochs):
    assert epochs_of("auto", images, batch_size=64) == epochs


@given(st.integers(1, 10_000), st.integers(1, 512))
def test_of_few_images_auto_takes_no_more_epochs_than_the_steps_need(images, batch_size):
    epochs, steps = epochs_of("auto", images, batch_size), math.ceil(images / batch_size)
    assert epochs * steps >= 300
    assert epochs == 8 or (epochs - 1) * steps < 300


@pytest.mark.parametrize("epochs", [0, 3, 40])
def test_epochs_that_are_asked_for_are_trained_however_many_images_there_are(epochs):
    assert epochs_of(epochs, 10, batch_size=64) == epochs


def test_all_other_settings_are_kept_and_a_precision_stands_in_place_of_auto():
    settings = fine_tune_settings(precision="auto", mixup=0.3)
    resolved = resolved_settings(settings, 100)
    assert resolved.precision in ("float32", "bfloat16")
    assert resolved == settings.model_copy(update={"precision": resolved.precision})


@pytest.mark.parametrize(("epochs", "views", "each"), [(3, 5, 3), (6, 5, 6), (7, 5, 6), (4, 0, 1)])
def test_only_views_that_an_epoch_sees_are_computed(epochs, views, each):
    images = [Request(Path(f"{number}.jpg"), f"{number:064x}") for number in range(5)]
    blocks = EpochBlocks(images, [], epochs, views)
    found = [request for block in blocks for request in block]
    assert len(found) == len(set(found)) == each * len(images)
    assert blocks.training_views == each * len(images)
    seen = {(image.sha256, view_in_epoch(image.sha256, epoch, views)) for image in images for epoch in range(epochs)}
    assert {(request.sha256, request.view) for request in found} == seen


def test_what_training_reads_comes_some_images_at_a_time_and_each_loop_gives_the_same(monkeypatch):
    monkeypatch.setattr("graft.training.fine_tune.IMAGES_AT_ONCE", 2)
    train, validation = ([Request(Path(f"{part}{n}.jpg"), f"{part}{n:063x}") for n in range(5)] for part in "ab")
    blocks = EpochBlocks(train, validation, epochs=3, views=1)
    first = list(blocks)
    assert [len(block) for block in first] == [4, 4, 2, 2, 2, 1]
    assert [{request.path for request in block} for block in first[:2]] == [
        {image.path for image in train[:2]},
        {image.path for image in train[2:4]},
    ]
    assert [request for block in first[3:] for request in block] == validation
    assert list(blocks) == first


@pytest.mark.parametrize("share", SHARES)
def test_the_share_is_the_one_that_is_best_on_the_validation_part(share):
    between = (1 - share) * np.array(START) + share * np.array(END)
    model, start = network(END), network(START).get_weights()
    found, figures = interpolate(model, start, SHARES, validation_right_by(between))
    assert found == share
    assert figures["accuracy"] == 1
    # Up to the temperature, which divides all logits alike.
    ratios = logits_of(model) / logits_of(network(between))
    assert ratios.min() == pytest.approx(ratios.max(), rel=1e-3)


def test_a_share_that_is_given_is_taken_whatever_the_validation_part_says():
    model, start = network(END), network(START).get_weights()
    found, figures = interpolate(model, start, [1.0], validation_right_by(START))
    assert found == 1
    assert figures["accuracy"] < 0.6


def test_the_figures_are_those_of_the_calibrated_network():
    validation = validation_right_by(START)
    noisy = validation._replace(labels=np.where(np.arange(200) % 5, validation.labels, 1 - validation.labels))
    model = network(START)
    _, figures = interpolate(model, model.get_weights(), [1.0], noisy)
    assert figures == pytest.approx(metrics.accuracy_and_loss(softmax(logits_of(model)), noisy.labels), abs=1e-5)
    assert figures["accuracy"] == pytest.approx(0.8)


def test_the_weights_between_two_networks_lie_on_a_straight_line():
    start, end = network(START).get_weights(), network(END).get_weights()
    quarter = weights_between(start, end, 0.25)
    for first, last, between in zip(start, end, quarter, strict=True):
        np.testing.assert_allclose(between, first + (last - first) / 4, atol=1e-6)
    for share, expected in ((0, start), (1, end)):
        for weight, same in zip(weights_between(start, end, share), expected, strict=True):
            np.testing.assert_array_equal(weight, same)


class Recorded:
    """Stands for the stored activations; keeps the requests."""

    def read(self, output, requests):
        self.output, self.requests = output, requests
        return MAPS[: len(requests)]


def test_examples_read_the_map_of_the_view_that_the_epoch_sees():
    images, labels = [Request(Path(f"{n}.jpg"), f"{n:064x}") for n in range(4)], np.arange(4)
    activations = Recorded()
    maps = examples(activations, images, labels, views=5).read(np.array([3, 1]), 2)
    assert (activations.output, len(maps)) == ("map", 2)
    assert activations.requests == [images[n]._replace(view=view_in_epoch(images[n].sha256, 2, 5)) for n in (3, 1)]


@pytest.mark.parametrize(("interpolation", "expected"), [(0.5, {0.5}), ("auto", set(SHARES))])
def test_fine_tuning_trains_and_then_interpolates_as_the_settings_say(interpolation, expected):
    train, model = validation_right_by(END), network(START)
    settings = fine_tune_settings(epochs=2, batch_size=50, interpolation=interpolation)
    rows = []
    history, share, figures = fine_tune(model, train, train, settings, lr=0.1, seed=0, on_epoch=rows.append)
    assert len(history) == 2
    assert rows == history
    assert share in expected
    assert figures == pytest.approx(metrics.accuracy_and_loss(softmax(logits_of(model)), train.labels), abs=1e-5)


@pytest.mark.parametrize(("monitor", "epoch"), [("val_loss", 2), ("val_accuracy", 3), (None, 4)])
def test_the_kept_epoch_is_the_first_best_one_or_the_last(monitor, epoch):
    figures = zip([0.5, 0.2, 0.3, 0.2], [0.5, 0.6, 0.9, 0.9], strict=True)
    history = [{"epoch": n, "val_loss": a, "val_accuracy": b} for n, (a, b) in enumerate(figures, start=1)]
    assert kept_epoch(history, monitor) == epoch
    assert kept_epoch([], monitor) == 0


def test_a_user_who_changes_the_learning_rate_without_fine_tuning_is_told_that_it_has_no_effect():
    assert outcome([], "val_loss", 0.0).startswith("not fine-tuned, as fine_tune.epochs is 0: lr has no effect")
