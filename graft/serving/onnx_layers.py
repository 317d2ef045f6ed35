"""LiteRT's operations with weights or a window as ONNX nodes; `onnx_operations` has the others and the table.

Each function takes the graph and an operation of the compiled network, adds its nodes, and returns the name of the
output, and whether the output has its channels first.
"""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from ai_edge_litert.schema_py_generated import Padding

from graft.serving.onnx_graph import TO_FIRST, Graph

Output = tuple[str, bool]


class NotCoveredError(Exception):
    """There is no function for an operation or one of its options; the message names it."""


def not_covered(name: str, *_: Any) -> NoReturn:
    """Raise NotCoveredError for an operation of this name."""
    raise NotCoveredError(name)


def _padding(options: Any, sides: Sequence[int], window: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Return the rows and columns that are added at the top, left, bottom and right."""
    if options.padding == Padding.VALID:
        return [0, 0, 0, 0]
    totals = []
    for side, length, step, dilation in zip(sides, window, (options.strideH, options.strideW), dilations, strict=True):
        reach = (length - 1) * dilation + 1
        totals.append(max((math.ceil(side / step) - 1) * step + reach - side, 0))
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]


def convolution(graph: Graph, operation: Any, depthwise: bool = False) -> Output:
    """Add a convolution; a `depthwise` one has a kernel for each channel."""
    image, weights, *bias = (int(tensor) for tensor in operation.inputs)
    kernel, options = graph.array(weights), operation.builtinOptions
    if kernel is None:
        not_covered("CONV_2D with a computed kernel")
    # (1, H, W, outputs), or (outputs, H, W, inputs of a group).
    kernel = kernel.transpose((3, 0, 1, 2) if depthwise else TO_FIRST)
    _, height, width, channels = graph.shape(image)
    dilations = [options.dilationHFactor, options.dilationWFactor]
    inputs = [graph.value(image, first=True), graph.constant(kernel)]
    inputs += [graph.value(tensor) for tensor in bias if tensor >= 0]
    name = graph.node(
        "Conv",
        inputs,
        kernel_shape=kernel.shape[2:],
        strides=[options.strideH, options.strideW],
        dilations=dilations,
        group=channels // kernel.shape[1],
        pads=_padding(options, (height, width), kernel.shape[2:], dilations),
    )
    return name, True


def pool(graph: Graph, operation: Any, kind: str) -> Output:
    """Add a pooling: `kind` is MaxPool or AveragePool."""
    (image,), options = operation.inputs, operation.builtinOptions
    window = (options.filterHeight, options.filterWidth)
    pads = _padding(options, graph.shape(image)[1:3], window, (1, 1))
    strides = [options.strideH, options.strideW]
    # ONNX's AveragePool leaves what was added at the edges out of the mean, as LiteRT does.
    return graph.node(kind, [graph.value(image, first=True)], kernel_shape=window, strides=strides, pads=pads), True


def dense(graph: Graph, operation: Any) -> Output:
    """Add a dense layer, which works on the last axis of its input."""
    values, weights, *bias = (int(tensor) for tensor in operation.inputs)
    rows = graph.value(values)
    inputs = graph.shape(weights)[1]
    if graph.shape(values)[1:] != (inputs,):
        rows = graph.node("Reshape", [rows, graph.constant([-1, inputs], np.int64)])
    name = graph.node("Gemm", [rows, graph.value(weights), *(graph.value(b) for b in bias if b >= 0)], transB=1)
    shape = graph.shape(operation.outputs[0])
    if len(shape) != 2:
        name = graph.node("Reshape", [name, graph.constant(shape, np.int64)])
    return name, False


def product(graph: Graph, operation: Any) -> Output:
    """Add a product of matrices."""
    names = []
    for tensor, swapped in zip(
        operation.inputs, (operation.builtinOptions.adjX, operation.builtinOptions.adjY), strict=True
    ):
        axes = list(range(len(graph.shape(tensor))))
        name = graph.value(int(tensor))
        names.append(graph.node("Transpose", [name], perm=[*axes[:-2], axes[-1], axes[-2]]) if swapped else name)
    return graph.node("MatMul", names), False
