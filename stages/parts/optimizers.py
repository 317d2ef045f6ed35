"""The optimisers that params.yaml can name: Keras's own."""

import math
from collections.abc import Callable

import keras


def _adam(momentum: float, **options) -> keras.Optimizer:
    return keras.optimizers.Adam(**options)


def _adamw(momentum: float, **options) -> keras.Optimizer:
    return keras.optimizers.AdamW(**options)


def _rmsprop(momentum: float, **options) -> keras.Optimizer:
    return keras.optimizers.RMSprop(momentum=momentum, **options)


def _sgd(momentum: float, **options) -> keras.Optimizer:
    return keras.optimizers.SGD(momentum=momentum, **options)


# Each is called with `momentum`, from 0 and below 1, which is of sgd and rmsprop, and with any option that all share.
OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}


def averaging(share: float, steps: int) -> dict[str, object]:
    """Return the options by which any of `OPTIMIZERS` keeps a moving average of the weights.

    Parameters
    ----------
    share : over how many of all steps it looks back, from 0, for no average, and below 1. The average forgets so fast
        that what is so many steps old counts 1/e of what is new: whatever the number of steps, the weights that
        training started from have the same say in the end.
    steps : that are taken in all, from 1.
    """
    return {"use_ema": True, "ema_momentum": math.exp(-1 / (share * steps))} if share else {}
