"""LiteRT's operations as ONNX nodes.

Each function takes the graph and an operation of the compiled network, adds its nodes, and returns the name of the
output, and whether the output has its channels first.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType as Activation

from graft.serving.onnx_graph import TO_FIRST, Graph
from graft.serving.onnx_layers import Output, convolution, dense, not_covered, pool, product


def _elementwise(graph: Graph, operation: Any, make: Callable[..., str]) -> Output:
    first = graph.is_first(operation.inputs)
    return make(graph, *(graph.value(int(tensor), first) for tensor in operation.inputs)), first


def _node(graph: Graph, *inputs: str, kind: str, **attributes: Any) -> str:
    return graph.node(kind, inputs, **attributes)


def _relu6(graph: Graph, values: str) -> str:
    return graph.node("Clip", [values, graph.number(0), graph.number(6)])


def _square(graph: Graph, values: str) -> str:
    return graph.node("Mul", [values, values])


def _squared_difference(graph: Graph, values: str, others: str) -> str:
    return _square(graph, graph.node("Sub", [values, others]))


def _rsqrt(graph: Graph, values: str) -> str:
    return graph.node("Reciprocal", [graph.node("Sqrt", [values])])


def _gelu(graph: Graph, operation: Any) -> Output:
    """Add GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415), which ONNX has no node for before version 20."""
    first = graph.is_first(operation.inputs)
    values = graph.value(int(operation.inputs[0]), first)
    if operation.builtinOptions.approximate:
        cube = graph.node("Mul", [_square(graph, values), values])
        inner = graph.node("Add", [values, graph.node("Mul", [cube, graph.number(0.044715)])])
        bent = graph.node("Tanh", [graph.node("Mul", [inner, graph.number(math.sqrt(2 / math.pi))])])
    else:
        bent = graph.node("Erf", [graph.node("Mul", [values, graph.number(math.sqrt(0.5))])])
    half = graph.node("Mul", [values, graph.number(0.5)])
    return graph.node("Mul", [half, graph.node("Add", [bent, graph.number(1)])]), first


def _softmax(graph: Graph, operation: Any) -> Output:
    values = graph.value(int(operation.inputs[0]))
    if operation.builtinOptions.beta != 1:
        values = graph.node("Mul", [values, graph.number(operation.builtinOptions.beta)])
    return graph.node("Softmax", [values], axis=-1), False


def _cast(graph: Graph, operation: Any) -> Output:
    values, first = int(operation.inputs[0]), graph.is_first(operation.inputs)
    return graph.node("Cast", [graph.value(values, first)], to=graph.type(operation.outputs[0])), first


def _reduction(graph: Graph, operation: Any, kind: str) -> Output:
    values, axes = (int(tensor) for tensor in operation.inputs)
    rank, keep = len(graph.shape(values)), operation.builtinOptions.keepDims
    over = sorted(axis % rank for axis in graph.integers(axes))
    # Without the reduced axes, the others must be in the same order in both layouts.
    first = graph.is_first([values]) and (keep or over in ([1, 2], [3], [1, 2, 3]))
    name = graph.value(values, first)
    if first:
        over = sorted(TO_FIRST.index(axis) for axis in over)
    if kind == "ReduceSum":
        return graph.node(kind, [name, graph.constant(over, np.int64)], keepdims=int(keep)), first and keep
    return graph.node(kind, [name], axes=over, keepdims=int(keep)), first and keep


def _concatenation(graph: Graph, operation: Any) -> Output:
    tensors = [int(tensor) for tensor in operation.inputs]
    first, axis = graph.is_first(tensors), operation.builtinOptions.axis % len(graph.shape(operation.outputs[0]))
    names = [graph.value(tensor, first) for tensor in tensors]
    return graph.node("Concat", names, axis=TO_FIRST.index(axis) if first else axis), first


def _pad(graph: Graph, operation: Any) -> Output:
    values, widths, *constant = (int(tensor) for tensor in operation.inputs)
    first = graph.is_first([values])
    pairs = np.array(graph.integers(widths)).reshape(-1, 2)
    if first:
        pairs = pairs[list(TO_FIRST)]
    inputs = [graph.value(values, first), graph.constant(pairs.T.ravel(), np.int64)]
    return graph.node("Pad", [*inputs, *(graph.value(tensor) for tensor in constant)], mode="constant"), first


def _strided_slice(graph: Graph, operation: Any) -> Output:
    options, values = operation.builtinOptions, int(operation.inputs[0])
    if options.ellipsisMask or options.newAxisMask or options.offset:
        not_covered("STRIDED_SLICE with an ellipsis, a new axis or an offset")
    begins, ends, steps = (graph.integers(int(tensor)) for tensor in operation.inputs[1:])
    dropped = [axis for axis in range(len(begins)) if options.shrinkAxisMask >> axis & 1]
    bounds = []
    for axis, side in enumerate(graph.shape(values)):
        start = None if options.beginMask >> axis & 1 else begins[axis]
        stop = None if options.endMask >> axis & 1 else ends[axis]
        if axis in dropped:
            bounds.append((begins[axis] % side, begins[axis] % side + 1, 1))
        else:
            from_, to, step = slice(start, stop, steps[axis]).indices(side)
            # ONNX counts a negative bound from the end.
            bounds.append((from_, to if to >= 0 else -side - 1, step))
    first = graph.is_first([values]) and not dropped
    axes = [TO_FIRST.index(axis) if first else axis for axis in range(len(bounds))]
    starts, stops, strides = zip(*bounds, strict=True)
    limits = [graph.constant(column, np.int64) for column in (starts, stops, axes, strides)]
    name = graph.node("Slice", [graph.value(values, first), *limits])
    return (graph.node("Squeeze", [name, graph.constant(dropped, np.int64)]) if dropped else name), first


def _pack(graph: Graph, operation: Any) -> Output:
    axis = operation.builtinOptions.axis % len(graph.shape(operation.outputs[0]))
    axes = graph.constant([axis], np.int64)
    parts = [graph.node("Unsqueeze", [graph.value(int(tensor)), axes]) for tensor in operation.inputs]
    return graph.node("Concat", parts, axis=axis), False


def _reshape(graph: Graph, operation: Any) -> Output:
    # The compiled network takes one image, so that every shape is known.
    shape = graph.constant(graph.shape(operation.outputs[0]), np.int64)
    return graph.node("Reshape", [graph.value(int(operation.inputs[0])), shape]), False


def _transpose(graph: Graph, operation: Any) -> Output:
    values, order = (int(tensor) for tensor in operation.inputs)
    return graph.node("Transpose", [graph.value(values)], perm=graph.integers(order)), False


def _kinds(**kinds: str) -> dict[str, Callable[[Graph, Any], Output]]:
    """Return a function for each operation that is one ONNX node without options."""
    return {name: partial(_elementwise, make=partial(_node, kind=kind)) for name, kind in kinds.items()}


# By the name of LiteRT's operation.
OPERATIONS: dict[str, Callable[[Graph, Any], Output]] = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": partial(convolution, depthwise=True),
    "MAX_POOL_2D": partial(pool, kind="MaxPool"),
    "AVERAGE_POOL_2D": partial(pool, kind="AveragePool"),
    "FULLY_CONNECTED": dense,
    "BATCH_MATMUL": product,
    "SOFTMAX": _softmax,
    "GELU": _gelu,
    "CAST": _cast,
    "MEAN": partial(_reduction, kind="ReduceMean"),
    "SUM": partial(_reduction, kind="ReduceSum"),
    "REDUCE_MAX": partial(_reduction, kind="ReduceMax"),
    "REDUCE_MIN": partial(_reduction, kind="ReduceMin"),
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "STRIDED_SLICE": _strided_slice,
    "PACK": _pack,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "RELU6": partial(_elementwise, make=_relu6),
    "SQUARE": partial(_elementwise, make=_square),
    "SQUARED_DIFFERENCE": partial(_elementwise, make=_squared_difference),
    "RSQRT": partial(_elementwise, make=_rsqrt),
    **_kinds(ADD="Add", SUB="Sub", MUL="Mul", DIV="Div", POW="Pow", MAXIMUM="Max", MINIMUM="Min"),
    **_kinds(RELU="Relu", TANH="Tanh", LOGISTIC="Sigmoid", HARD_SWISH="HardSwish", NEG="Neg", ABS="Abs"),
    **_kinds(SQRT="Sqrt", EXP="Exp", LOG="Log"),
}

ACTIVATIONS: dict[int, Callable[[Graph, str], str]] = {
    Activation.NONE: lambda graph, values: values,
    Activation.RELU: partial(_node, kind="Relu"),
    Activation.RELU6: _relu6,
    Activation.TANH: partial(_node, kind="Tanh"),
}
