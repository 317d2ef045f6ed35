"""The optimisers that params.yaml can name: Keras's own."""

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
