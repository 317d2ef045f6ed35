"""Copies of layers, those of KerasHub too."""

import inspect
from typing import Any

import keras


def cloned(layer: keras.Layer, **changes: Any) -> keras.Layer:
    """Return a new layer of the same kind, name and settings, without its weights.

    Parameters
    ----------
    layer : a layer of Keras, KerasHub or Graft.
    changes : settings of the copy that differ.
    """
    if type(layer).__module__.startswith("keras_hub."):
        return type(layer)(**_arguments(layer) | {"name": layer.name} | changes)
    return type(layer).from_config(layer.get_config() | changes)


def _arguments(layer: keras.Layer) -> dict[str, Any]:
    """Return what a layer of KerasHub was made with.

    Not `get_config`: the configurations of its layers lack settings, and have others that the constructor refuses.
    """
    # Keras keeps the arguments, unless one is a class.
    kept = layer._auto_config  # noqa: SLF001
    if kept is not None:
        return dict(kept.config)
    # The layers of Swin keep theirs under one of these names.
    values = vars(layer)
    names = {
        name: next((key for key in (f"_{name}_cls", f"_{name}", name) if key in values), None)
        for name in inspect.signature(type(layer).__init__).parameters
    }
    return {name: values[key] for name, key in names.items() if key}


def copied(layer: keras.Layer, *inputs: keras.KerasTensor, name: str | None = None) -> keras.KerasTensor:
    """Return the output of a new layer with the settings and the weights of another one.

    A layer in two graphs has two outputs, and `cut` could not tell which one it needs.
    """
    copy = cloned(layer, **({"name": name} if name else {}))
    outputs = copy(*inputs)
    copy.set_weights(layer.get_weights())
    return outputs
