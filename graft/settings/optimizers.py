"""The optimisers that params.yaml can name: those of Keras."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# The class in keras.optimizers and whether it has a momentum, by its name in params.yaml.
OPTIMIZERS = {"adam": ("Adam", False), "adamw": ("AdamW", False), "rmsprop": ("RMSprop", True), "sgd": ("SGD", True)}


def build_optimizer(name: str, momentum: float, **options: object) -> keras.Optimizer:
    """Return a new optimiser.

    Parameters
    ----------
    name : a key of `OPTIMIZERS`.
    momentum : from 0 and below 1; only for optimisers that have one.
    options : arguments that all optimisers of Keras have.
    """
    import keras

    class_name, has_momentum = OPTIMIZERS[name]
    if has_momentum:
        options["momentum"] = momentum
    return getattr(keras.optimizers, class_name)(**options)


def ema_options(ema: float, steps: int) -> dict[str, object]:
    """Return the options with which an optimiser keeps an exponential moving average (EMA) of the weights.

    Parameters
    ----------
    ema : share of all steps over which the average looks back, from 0 (no average) and below 1. Weights that are this
        many steps old count 1/e times as much as the newest. So the first weights count the same at the end, whatever
        the number of steps.
    steps : number of all steps, from 1.
    """
    return {"use_ema": True, "ema_momentum": math.exp(-1 / (ema * steps))} if ema else {}
