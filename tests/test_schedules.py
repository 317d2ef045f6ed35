"""Learning-rate schedules: the rate at each step."""

import keras
import pytest

from graft.settings.schedules import SCHEDULES, learning_rate, reduce_on_plateau

PEAK, STEPS = 0.1, 100


def rates(schedule, warmup=0.0):
    rate = learning_rate(schedule, PEAK, STEPS, warmup)
    return [float(rate(step)) if callable(rate) else rate for step in range(STEPS + 1)]


def test_a_constant_rate_stays_at_the_peak():
    assert rates("constant") == pytest.approx([PEAK] * (STEPS + 1))


def test_a_cosine_falls_from_the_peak_to_zero():
    found = rates("cosine")
    assert found[0] == pytest.approx(PEAK)
    assert found[STEPS // 2] == pytest.approx(PEAK / 2)
    assert found[STEPS] == pytest.approx(0, abs=1e-9)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("schedule", "end"), [("constant", PEAK), ("cosine", 0.0)])
def test_a_warmup_rises_linearly_to_the_peak_and_its_first_step_counts(schedule, end):
    found = rates(schedule, warmup=0.2)
    assert found[0] == pytest.approx(PEAK / 20)
    assert found[10] == pytest.approx((found[0] + PEAK) / 2)
    assert found[20] == max(found) == pytest.approx(PEAK)
    assert found[STEPS] == pytest.approx(end, abs=1e-7)


def test_a_warmup_of_less_than_a_step_is_none():
    assert rates("cosine", warmup=0.005) == rates("cosine")


def test_a_plateau_starts_at_the_peak_without_warmup():
    assert rates("plateau", warmup=0.2) == [PEAK] * (STEPS + 1)


def test_on_a_plateau_the_rate_is_divided_by_ten_after_so_many_epochs_without_a_lower_loss():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(PEAK))
    callback = reduce_on_plateau("val_loss", patience=2)
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch, loss in enumerate([1.0, 0.5, 0.6, 0.7, 0.4, 0.4, 0.4]):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        found.append(float(model.optimizer.learning_rate))
    assert found == pytest.approx([PEAK] * 3 + [PEAK / 10] * 3 + [PEAK / 100])


def test_every_schedule_has_a_rate():
    assert all(rates(schedule)[0] == pytest.approx(PEAK) for schedule in SCHEDULES)
