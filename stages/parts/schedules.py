"""The learning-rate schedules that params.yaml can name: Keras's own."""

import keras

Rate = float | keras.optimizers.schedules.LearningRateSchedule


def _plateau(peak: float, steps: int, warmup: float) -> Rate:
    return peak


def _constant(peak: float, steps: int, warmup: float) -> Rate:
    return _risen(peak, steps, warmup, floor=1.0)


def _cosine(peak: float, steps: int, warmup: float) -> Rate:
    return _risen(peak, steps, warmup, floor=0.0)


def _risen(peak: float, steps: int, warmup: float, floor: float) -> Rate:
    """Return a rate that falls to a share of its peak along a cosine, once it has risen to it."""
    warmup_steps = int(steps * warmup)
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, steps, alpha=floor)
    return keras.optimizers.schedules.CosineDecay(
        # Not from 0: the first step would be lost.
        peak / warmup_steps,
        steps - warmup_steps,
        alpha=floor,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )


# Each takes the peak rate, the steps of all epochs, and the share of them over which the rate rises in a line to the
# peak, from 0 and below 1. It returns the rate itself, or the rate as a function of the step. From the peak `cosine`
# falls to 0 along a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983), and `constant` stays; `plateau` does not rise,
# and is a constant that the callback lowers.
SCHEDULES = {"constant": _constant, "cosine": _cosine, "plateau": _plateau}


def plateau(monitor: str, patience: int) -> keras.callbacks.Callback:
    """Return what divides the rate by 10 after `patience` epochs without a lower `monitor`."""
    return keras.callbacks.ReduceLROnPlateau(monitor, factor=0.1, patience=patience, mode="min")
