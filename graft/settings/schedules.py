"""The learning-rate schedules that params.yaml can name: those of Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# By its name in params.yaml, where a cosine that starts at the peak rate ends, as a share of that rate (Loshchilov &
# Hutter 2017, arXiv 1608.03983). `constant` stays at the peak. `plateau` has no schedule: `reduce_on_plateau` lowers
# the rate between epochs.
SCHEDULES: dict[str, float | None] = {"constant": 1.0, "cosine": 0.0, "plateau": None}


def learning_rate(
    schedule: str, peak: float, steps: int, warmup: float
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate: a number, or a function of the step.

    Parameters
    ----------
    schedule : a key of `SCHEDULES`.
    peak : the highest rate, above 0.
    steps : of all epochs together, from 1.
    warmup : share of the steps in which the rate rises linearly to the peak, from 0 and below 1; `plateau` has none.
    """
    import keras

    floor = SCHEDULES[schedule]
    if floor is None:
        return peak
    warmup_steps = int(steps * warmup)
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, steps, alpha=floor)
    return keras.optimizers.schedules.CosineDecay(
        # Not from 0: the first step would change nothing.
        peak / warmup_steps,
        steps - warmup_steps,
        alpha=floor,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )


def reduce_on_plateau(monitor: str, patience: int) -> keras.callbacks.Callback:
    """Return the callback that divides the rate by 10 after `patience` epochs without a lower value of `monitor`."""
    import keras

    return keras.callbacks.ReduceLROnPlateau(monitor, factor=0.1, patience=patience, mode="min")
