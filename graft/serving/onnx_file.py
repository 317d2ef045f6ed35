"""The exported classifier as an ONNX file: the same operations as the compiled network has, under ONNX's names.

Keras and tf2onnx write ONNX too, but other bytes each time.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from graft.core.errors import GraftError
from graft.serving.onnx_graph import Graph
from graft.serving.onnx_layers import NotCoveredError, not_covered
from graft.serving.onnx_operations import ACTIVATIONS, OPERATIONS

# Of 2022 and 2021: runtimes on phones and in browsers are often some years old.
OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "image", "probabilities"
NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def to_onnx(flatbuffer: bytes, description: Mapping[str, Any]) -> bytes:
    """Return the ONNX file of a compiled network; the same bytes each time.

    Its input is `image`, uint8 (1, height, width, 3), RGB; its first output is `probabilities`, float32 (1, classes);
    further outputs have the names of the compiled network's signature.

    Parameters
    ----------
    flatbuffer : the compiled network, float32 inside.
    description : the content of models/labels.json; each key becomes a text of the file's metadata, JSON but for
        plain text.

    Raises
    ------
    GraftError
        If the network has an operation that is not in `OPERATIONS`.
    """
    network = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer, 0))
    graph = Graph(network)
    subgraph = network.subgraphs[0]
    graph.set(int(subgraph.inputs[0]), INPUT)
    for operation in subgraph.operators:
        _add(graph, operation, _name(network.operatorCodes[operation.opcodeIndex]))
    outputs = dict(zip(_output_names(network), subgraph.outputs, strict=True))
    for name, tensor in outputs.items():
        graph.nodes.append(helper.make_node("Identity", [graph.value(int(tensor))], [name], name=name))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "classifier",
            [_value_info(graph, INPUT, subgraph.inputs[0])],
            [_value_info(graph, name, tensor) for name, tensor in outputs.items()],
            graph.constants,
        ),
        producer_name="graft",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    texts = {key: value if isinstance(value, str) else _json(value) for key, value in description.items()}
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _add(graph: Graph, operation: Any, name: str) -> None:
    """Add the nodes of an operation of the compiled network."""
    try:
        output, first = OPERATIONS.get(name, partial(not_covered, name))(graph, operation)
        activation = getattr(operation.builtinOptions, "fusedActivationFunction", 0)
        activate = ACTIVATIONS.get(activation, partial(not_covered, f"{name} with activation {activation}"))
        graph.set(int(operation.outputs[0]), activate(graph, output), first)
    except NotCoveredError as error:
        raise GraftError(
            f"onnx: this network has the operation {error}, which Graft cannot write as ONNX; "
            "remove onnx from export.formats, or choose another backbone"
        ) from error


def _name(code: Any) -> str:
    # Small numbers stand in the older of the two fields.
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _output_names(network: Any) -> list[str]:
    """Return the name of each output: the first is `OUTPUT`, the others have those of the signature, or a number."""
    signature = {
        int(entry.tensorIndex): entry.name.decode()
        for definition in network.signatureDefs or []
        for entry in definition.outputs
    }
    tensors = [int(tensor) for tensor in network.subgraphs[0].outputs]
    return [OUTPUT, *(signature.get(tensor, f"output_{place}") for place, tensor in enumerate(tensors[1:], start=1))]


def _value_info(graph: Graph, name: str, tensor: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, graph.type(int(tensor)), graph.shape(int(tensor)))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
