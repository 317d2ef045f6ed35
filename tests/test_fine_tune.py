"""What fine-tuning looks at, and how far it goes: as far as the validation part says."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.activations.inference import Request
from graft.heads.head import probabilities
from graft.images.view_order import view_in_epoch
from graft.scores import metrics
from graft.training.loop import Examples
from stages import fine_tune

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
    """Images of the class that a head of this kernel gives them."""
    return Examples(lambda rows, epoch: MAPS[rows], logits_of(network(kernel)).argmax(axis=1))


START, END = [[4, 0], [0, 4], [0, 0]], [[0, 4], [0, 0], [4, 0]]


@pytest.mark.parametrize(("images", "epochs"), [(1, 300), (64, 300), (65, 150), (1220, 15), (2496, 8), (100_000, 8)])
def test_auto_is_eight_epochs_or_with_few_images_three_hundred_steps(images, epochs):
    assert fine_tune.epochs_of("auto", images, batch_size=64) == epochs


@given(st.integers(1, 10_000), st.integers(1, 512))
def test_of_few_images_auto_takes_no_more_epochs_than_the_steps_need(images, batch_size):
    epochs, steps = fine_tune.epochs_of("auto", images, batch_size), math.ceil(images / batch_size)
    assert epochs * steps >= 300
    assert epochs == 8 or (epochs - 1) * steps < 300


@pytest.mark.parametrize("epochs", [0, 3, 40])
def test_epochs_that_are_asked_for_are_trained_however_many_images_there_are(epochs):
    assert fine_tune.epochs_of(epochs, 10, batch_size=64) == epochs


@pytest.mark.parametrize(("epochs", "views", "each"), [(3, 5, 3), (6, 5, 6), (7, 5, 6), (4, 0, 1)])
def test_only_views_that_an_epoch_sees_are_computed(epochs, views, each):
    images = [Request(Path(f"{number}.jpg"), f"{number:064x}") for number in range(5)]
    found = fine_tune.learnt_from(images, epochs, views)
    assert len(found) == len(set(found)) == each * len(images)
    seen = {(image.sha256, view_in_epoch(image.sha256, epoch, views)) for image in images for epoch in range(epochs)}
    assert {(request.sha256, request.view) for request in found} == seen


@pytest.mark.parametrize("share", fine_tune.SHARES)
def test_the_share_of_the_way_is_the_one_that_is_best_on_the_validation_part(share):
    on_the_way = (1 - share) * np.array(START) + share * np.array(END)
    model, start = network(END), network(START).get_weights()
    found, figures = fine_tune.settled(model, start, fine_tune.SHARES, validation_right_by(on_the_way))
    assert found == share
    assert figures["accuracy"] == 1
    # Up to the temperature, which divides all logits alike.
    ratios = logits_of(model) / logits_of(network(on_the_way))
    assert ratios.min() == pytest.approx(ratios.max(), rel=1e-3)


def test_a_share_that_is_given_is_taken_whatever_the_validation_part_says():
    model, start = network(END), network(START).get_weights()
    found, figures = fine_tune.settled(model, start, [1.0], validation_right_by(START))
    assert found == 1
    assert figures["accuracy"] < 0.6


def test_the_figures_are_those_of_the_calibrated_network():
    validation = validation_right_by(START)
    noisy = validation._replace(labels=np.where(np.arange(200) % 5, validation.labels, 1 - validation.labels))
    model = network(START)
    _, figures = fine_tune.settled(model, model.get_weights(), [1.0], noisy)
    assert figures == pytest.approx(metrics.choice(probabilities(logits_of(model)), noisy.labels), abs=1e-5)
    assert figures["accuracy"] == pytest.approx(0.8)
