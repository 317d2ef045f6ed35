"""An ONNX graph that is built from a compiled network: its tensors, constants and nodes.

LiteRT has the channels of a map last (N, H, W, C), ONNX has them first (N, C, H, W). So a tensor of four axes can exist
in both layouts: each is made when an operation first asks for it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
# The types of constants and of casts: LiteRT's number, NumPy's type, ONNX's number.
TYPES = {
    schema.TensorType.FLOAT32: (np.float32, TensorProto.FLOAT),
    schema.TensorType.INT32: (np.int32, TensorProto.INT32),
    schema.TensorType.UINT8: (np.uint8, TensorProto.UINT8),
    schema.TensorType.INT64: (np.int64, TensorProto.INT64),
    schema.TensorType.BOOL: (np.bool_, TensorProto.BOOL),
}


class Graph:
    """The ONNX nodes and constants so far.

    Parameters
    ----------
    network : the compiled network, read from its flatbuffer.
    """

    def __init__(self, network: Any) -> None:
        self._tensors = network.subgraphs[0].tensors
        self._buffers = network.buffers
        self._names: dict[tuple[int, bool], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of a tensor of the compiled network."""
        sides = self._tensors[tensor].shape
        # None for a scalar.
        return () if sides is None else tuple(int(side) for side in sides)

    def type(self, tensor: int) -> int:
        """Return ONNX's number for the type of a tensor; KeyError if it is none of `TYPES`."""
        return TYPES[self._tensors[tensor].type][1]

    def array(self, tensor: int) -> np.ndarray | None:
        """Return the values of a constant tensor; None if the tensor is computed."""
        data = self._buffers[self._tensors[tensor].buffer].data
        if data is None:
            return None
        return np.frombuffer(bytes(data), TYPES[self._tensors[tensor].type][0]).reshape(self.shape(tensor))

    def integers(self, tensor: int) -> list[int]:
        """Return the values of a constant tensor of whole numbers, in one list."""
        values = self.array(tensor)
        if values is None:
            raise KeyError(tensor)
        return [int(value) for value in values.ravel()]

    def set(self, tensor: int, name: str, first: bool = False) -> None:
        """Note the ONNX name of a computed tensor, with its channels `first` or last."""
        self._names[tensor, first] = name

    def is_first(self, tensors: Sequence[int]) -> bool:
        """Return whether an operation on these tensors works with the channels first.

        It does if all computed ones have four axes, and one of them is there in that layout already.
        """
        computed = [tensor for tensor in tensors if self.array(tensor) is None]
        return all(len(self.shape(tensor)) == len(TO_FIRST) for tensor in computed) and any(
            (tensor, True) in self._names for tensor in computed
        )

    def value(self, tensor: int, first: bool = False) -> str:
        """Return the ONNX name of a tensor in one of the layouts; add what makes it, if it is not there yet.

        A constant with fewer than four axes gets axes of length 1 before its own, if the channels are `first`.
        """
        if (tensor, first) not in self._names:
            array = self.array(tensor)
            if array is None:
                other = self._names[tensor, not first]
                name = self.node("Transpose", [other], perm=TO_FIRST if first else TO_LAST)
            elif first:
                name = self.constant(
                    array.reshape((1,) * (len(TO_FIRST) - array.ndim) + array.shape).transpose(TO_FIRST)
                )
            else:
                name = self.constant(array)
            self._names[tensor, first] = name
        return self._names[tensor, first]

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype, order="C"), name))
        return name

    def number(self, value: float) -> str:
        """Add a float32 constant without axes; return its name."""
        return self.constant(value, np.float32)

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name
