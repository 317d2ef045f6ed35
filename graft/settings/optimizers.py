"""The optimisers that params.yaml can name: Keras's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# By name in params.yaml, the class of keras.optimizers and whether it has a momentum.
OPTIMIZERS = {"adam": ("Adam", False), "adamw": ("AdamW", False), "rmsprop": ("RMSprop", True), "sgd": ("SGD", True)}


def build_optimizer(name: str, momentum: float, **options: object) -> keras.Optimizer:
    """Return a new optimiser.

    Parameters
    ----------
    name : a key of `OPTIMIZERS`.
    momentum : from 0 and below 1; used by those that have one.
    options : any that all optimisers of Keras share.
    """
    import keras

    class_name, has_momentum = OPTIMIZERS[name]
    if has_momentum:
        options["momentum"] = momentum
    return getattr(keras.optimizers, class_name)(**options)


def ema_options(share: float, steps: int) -> dict[str, object]:
    """Return the options with which an optimiser keeps an exponential moving average (EMA) of the weights.

    Parameters
    ----------
    share : share of all steps over which the average looks back, from 0 (no average) and below 1. Weights that are so
        many steps old count 1/e of the newest ones. The number of steps does not change how much the first weights
        count at the end.
    steps : how many are taken in all, from 1.
    """
    return {"use_ema": True, "ema_momentum": math.exp(-1 / (share * steps))} if share else {}
