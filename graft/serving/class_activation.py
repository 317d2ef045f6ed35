"""Class activation maps: which places of a crop speak for a class, computed from the exported file without TensorFlow.

Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", arXiv 1512.04150. With average pooling and
one dense layer, a logit is the mean, over all places of the last feature map, of the map times the class's weights. So
each place has its own share in the logit. The places of a transformer are its patches, row by row.
"""

import math
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from graft.activations.litert import LOADING
from graft.core.errors import GraftError
from graft.core.quiet import hidden

OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
# Operations that change only a tensor's shape or type; and softmax, which is behind the logits.
PASSED = ("SOFTMAX", "RESHAPE", "DEQUANTIZE", "QUANTIZE", "CAST")

# LiteRT warns that it keeps all tensors. Switched off once: `warnings.catch_warnings` is not thread-safe.
warnings.filterwarnings("ignore", message="Warning: Enabling `experimental_preserve_all_tensors`")


class _Tensors(NamedTuple):
    """Numbers of the tensors that a map is made of: the feature map before the pooling, and the dense weights."""

    feature_map: int
    weights: int


class ClassActivation:
    """Makes the class activation maps of one compiled classifier; `open_network` returns one.

    Several threads may call it at once; they wait for each other.
    """

    def __init__(self, interpreter: Interpreter, tensors: _Tensors) -> None:
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._tensors = tensors
        self._details = {one["index"]: one for one in interpreter.get_tensor_details()}
        self._busy = threading.Lock()

    def maps(self, crop: np.ndarray, classes: Sequence[int]) -> np.ndarray:
        """Return the `maps_of_crops` of one crop, float32 array (len(classes), size, size)."""
        return self.maps_of_crops([crop], classes)[0]

    def maps_of_crops(self, crops: Sequence[np.ndarray], classes: Sequence[int]) -> np.ndarray:
        """Return where the network sees each of the classes in the crops of one image.

        Parameters
        ----------
        crops : each a uint8 array (size, size, 3), RGB, as `loader.load_crops` gives them.
        classes : number of each wanted class, from 0.

        Returns
        -------
        float32 array (len(crops), len(classes), size, size). For each class, its values go from 0 (the place of all
        crops that speaks least for the class, against the mean of all classes) to 1 (most). All are 0 where every place
        speaks the same.
        """
        evidence = np.stack([self._evidence(crop, classes) for crop in crops])
        low, high = (extreme(evidence, axis=(0, 2, 3), keepdims=True) for extreme in (np.min, np.max))
        shares = (evidence - low) / np.where(high > low, high - low, 1)
        size = crops[0].shape[1::-1]
        return np.stack([np.stack([_enlarged(share, size) for share in of_crop]) for of_crop in shares])

    def _evidence(self, crop: np.ndarray, classes: Sequence[int]) -> np.ndarray:
        """Return the share of each place in the logits of the classes, float32 array (classes, height, width)."""
        with self._busy:
            self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], crop[np.newaxis])
            self._interpreter.invoke()
            feature_map = self._values(self._tensors.feature_map)[0]
            weights = self._values(self._tensors.weights)
        if feature_map.ndim == 2:
            side = math.isqrt(len(feature_map))
            feature_map = feature_map.reshape(side, side, -1)
        # Softmax does not see what all classes have in common.
        return np.moveaxis(feature_map @ (weights - weights.mean(axis=0))[list(classes)].T, -1, 0)

    def _values(self, tensor: int) -> np.ndarray:
        """Return a tensor's values as float32, also those of a quantised tensor."""
        values = self._interpreter.get_tensor(tensor).astype(np.float32)
        quantised = self._details[tensor]["quantization_parameters"]
        if not len(quantised["scales"]):
            return values
        shape = [1] * values.ndim
        shape[quantised["quantized_dimension"]] = len(quantised["scales"])
        return (values - quantised["zero_points"].reshape(shape)) * quantised["scales"].reshape(shape)


def _enlarged(shares: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    resized = Image.fromarray(shares.astype(np.float32)).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def open_network(network: Path) -> ClassActivation | None:
    """Return what makes the maps of a compiled classifier, or None where it has none.

    It has maps if its first output is the softmax of one dense layer, behind average pooling over the whole of a
    feature map, or over the tokens of a square of patches. Max pooling, the class token, a second dense layer, or a
    flattened map give none.

    Parameters
    ----------
    network : path of the compiled network, models/classifier.tflite.

    Raises
    ------
    GraftError
        If the file is missing or not a compiled network.
    """
    if not network.is_file():
        raise GraftError(f"{network}: no such file; `dvc repro` writes it")
    try:
        # Standard error belongs to the whole process, so only one thread at a time may hide it.
        with LOADING, hidden():
            interpreter = Interpreter(str(network), num_threads=1, experimental_preserve_all_tensors=True)
            tensors = _find(schema.ModelT.InitFromPackedBuf(network.read_bytes()))
            return ClassActivation(interpreter, tensors) if tensors else None
    except (ValueError, RuntimeError) as error:
        raise GraftError(f"{network}: not a compiled network; `dvc repro` writes it anew") from error


def _find(graph: Any) -> _Tensors | None:
    """Return the tensors of the maps in a graph (schema.ModelT), or None."""
    part = graph.subgraphs[0]
    made_by = {output: one for one in part.operators for output in one.outputs}

    def name(operator: Any) -> str:
        code = graph.operatorCodes[operator.opcodeIndex]
        # Files of older versions have the code in the other field.
        return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def before(tensor: int) -> int:
        """Return the tensor that this one is, before it got its shape or type."""
        while tensor in made_by and name(made_by[tensor]) in PASSED:
            tensor = made_by[tensor].inputs[0]
        return int(tensor)

    def shape(tensor: int) -> list[int]:
        return list(part.tensors[tensor].shape)

    dense = made_by.get(before(part.outputs[0]))
    if dense is None or name(dense) != "FULLY_CONNECTED":
        return None
    pooling = made_by.get(before(dense.inputs[0]))
    if pooling is None or name(pooling) not in ("MEAN", "AVERAGE_POOL_2D"):
        return None
    # The stored weights: LiteRT does not keep what it makes of float16 ones.
    feature_map, weights = int(pooling.inputs[0]), before(dense.inputs[1])
    _, *places, channels = shape(feature_map)
    is_map = len(places) == 2 or (len(places) == 1 and math.isqrt(places[0]) ** 2 == places[0])
    is_global = np.prod(shape(pooling.outputs[0])) == channels == shape(weights)[1]
    return _Tensors(feature_map, weights) if is_map and is_global else None
