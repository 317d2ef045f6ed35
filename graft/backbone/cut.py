"""Cutting a Keras network in two: the trunk, which stays frozen, and the top, in which fine-tuning trains.

The trunk is the part from the image to the cut. It runs once for each view, and the store keeps its output. The top is
the part from the cut to the feature map. A network can be cut where a single tensor crosses from one part to the other:
at an articulation point of its graph.
"""

import math
from dataclasses import dataclass

import keras

from graft.core.errors import GraftError, nearest


@dataclass(frozen=True)
class CutPoint:
    """A place where exactly one tensor crosses.

    Attributes
    ----------
    index : int
        How many of `model.layers` lie below it. The first layer above it is `model.layers[index]`.
    after : str
        The name of the layer or operation whose output crosses.
    shape : tuple of int
        The shape of that output without the batch: (height, width, channels), or of tokens (tokens, channels).
    """

    index: int
    after: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """A network in two halves that share its layers: ``top(trunk(images))`` is the network, to the last bit.

    Attributes
    ----------
    trunk : keras.Model
        From the network's input to the crossing tensor; the identity if the cut is at the input.
    top : keras.Model
        From the crossing tensor to the network's output; the identity if no layer is trained.
    point : CutPoint
        Where the cut is.
    frozen : tuple of str
        The names of the layers of `top` that are not trained.
    trainable : tuple of str
        The names of the other layers of `top`.
    first_trained : int
        The index of the first trainable layer in the network's layers; the number of its layers where there is none.
    """

    trunk: keras.Model
    top: keras.Model
    point: CutPoint
    frozen: tuple[str, ...]
    trainable: tuple[str, ...]
    first_trained: int


def resolve_layer(model: keras.Model, layer: str | int | float, key: str = "fine_tune.from_layer") -> int:
    """Return a layer's index in `model.layers`, from 0 to `len(model.layers)`, which is the end.

    Parameters
    ----------
    model : keras.Model
        A functional model.
    layer : str, int or float
        A layer's name, or its index (a negative one counts from the end), or, as a float from 0.0 to 1.0, the share of
        the layers that lie below it.
    key : str
        The parameter that names the layer, for messages.

    Raises
    ------
    GraftError
        If there is no such layer; the message has the nearest names, or the range.
    """
    count = len(model.layers)
    if isinstance(layer, str):
        names = [layer.name for layer in model.layers]
        if layer not in names:
            raise GraftError(f"{key}: {model.name} has no layer {layer!r}; {_nearest_layers(layer, names)}")
        return names.index(layer)
    if isinstance(layer, float):
        if not 0 <= layer <= 1:
            raise GraftError(f"{key}: {layer} is no fraction; give a name, an index, or 0.0 to 1.0")
        return round(layer * count)
    if not -count <= layer <= count:
        raise GraftError(f"{key}: {model.name} has no layer {layer}; its layers are 0 to {count - 1}")
    return layer % count if layer < 0 else layer


def trained_layers(
    model: keras.Model, from_layer: str | int | float, to_layer: str | int | float | None = None
) -> range:
    """Return the indices in `model.layers` from one layer up to another, without that one, or to the end.

    Parameters
    ----------
    model : keras.Model
        A functional model.
    from_layer, to_layer : str, int or float
        As `resolve_layer` reads them.

    Raises
    ------
    GraftError
        If there is no such layer, or `to_layer` does not come after `from_layer`.
    """
    first = resolve_layer(model, from_layer)
    if to_layer is None:
        return range(first, len(model.layers))
    end = resolve_layer(model, to_layer, "fine_tune.to_layer")
    if end <= first:
        raise GraftError(
            f"fine_tune.to_layer: {to_layer} is layer {end} of {model.name}, not after from_layer, which is layer "
            f"{first}; give {first + 1} to {len(model.layers)}"
        )
    return range(first, end)


def cut_points(model: keras.Model) -> list[CutPoint]:
    """Return every place where exactly one tensor crosses, from the input to the output.

    They do not depend on the order of `model.operations`, as long as each operation comes after its inputs.
    """
    return [point for point, _, _ in _cut_points(model)]


def cut(model: keras.Model, from_layer: str | int | float, to_layer: str | int | float | None = None) -> Cut:
    """Cut a network at the last place, at or before a layer, where a single tensor crosses.

    A name or an index means exactly that layer. The layers between the cut and that layer are in `top`, but frozen. A
    fraction means a depth. The cut is then where the map is smallest, in the last third of the way to that depth, and
    all layers above the cut are trained: the smallest map takes the least room in the store. Of maps of the same size
    it is the last one, at the end of a block.

    Parameters
    ----------
    model : keras.Model
        A functional model with one input and one output; the halves share its layers and weights.
    from_layer, to_layer : str, int or float
        The first layer that is trained, and the first layer after it that is not, as `trained_layers` reads them.

    Raises
    ------
    GraftError
        If there is no such layer, or `to_layer` does not come after `from_layer`.
    """
    trained = trained_layers(model, from_layer, to_layer)
    index = trained.start
    layers = model.layers
    operations = model.operations
    # Not before the input layer, which has no weights.
    limit = max(1, operations.index(layers[index])) if index < len(layers) else len(operations)
    places = [place for place in _cut_points(model) if place[2] <= limit]
    point, tensor, _ = places[-1]
    if isinstance(from_layer, float) and 0 < from_layer < 1:
        # Only the last third of the way: in many networks no map is smaller than the image.
        near = [place for place in places if place[0].index > index * 2 / 3] or places[-1:]
        point, tensor, _ = min(reversed(near), key=lambda place: math.prod(place[0].shape))
        index = point.index
    first_trained = max(index, point.index)
    return Cut(
        trunk=_between(model.input, tensor, f"{model.name}_trunk"),
        top=_between(tensor, model.output, f"{model.name}_top"),
        point=point,
        frozen=tuple(layer.name for layer in layers[point.index : index] + layers[trained.stop :]),
        trainable=tuple(layer.name for layer in layers[first_trained : trained.stop]),
        first_trained=first_trained,
    )


def _nearest_layers(name: str, names: list[str]) -> str:
    hint = nearest(name, names)
    # Not the list of all names: a network has hundreds of layers.
    return hint if hint.startswith("did you mean") else f"its layers are {names[0]} to {names[-1]}"


def _cut_points(model: keras.Model) -> list[tuple[CutPoint, keras.KerasTensor, int]]:
    """Return each cut point, with the tensor that crosses and how many of `model.operations` lie below."""
    operations = model.operations
    last_reader = _last_readers(model)
    layers = set(map(id, model.layers))
    # Open tensors: those that a later operation reads.
    found, below = [], 0
    open_tensors: dict[int, keras.KerasTensor] = {}
    for position, operation in enumerate(operations, start=1):
        outputs = {id(tensor): tensor for tensor in keras.tree.flatten(operation.output)}
        open_tensors |= outputs
        # A split may have an output that nothing reads.
        open_tensors = {key: value for key, value in open_tensors.items() if last_reader.get(key, 0) >= position}
        below += id(operation) in layers
        if len(open_tensors) == 1 and open_tensors.keys() <= outputs.keys():
            tensor = next(iter(open_tensors.values()))
            found.append((CutPoint(below, operation.name, tuple(tensor.shape[1:])), tensor, position))
    return found


def _last_readers(model: keras.Model) -> dict[int, int]:
    """Return, by the id of each tensor, the position of the last operation that reads it; for the output, the end."""
    readers = {}
    for position, operation in enumerate(model.operations):
        if not isinstance(operation, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(operation.input):
                readers[id(tensor)] = position
    return readers | {id(model.output): len(model.operations)}


def _between(start: keras.KerasTensor, end: keras.KerasTensor, name: str) -> keras.Model:
    if start is end:
        entry = keras.Input(start.shape[1:], dtype=start.dtype, name="input_layer")
        return keras.Model(entry, entry, name=name)
    model = keras.Model(start, end, name=name)
    # Keras would name it by the number of tensors that the process has made.
    model.layers[0].name = "input_layer"
    return model
