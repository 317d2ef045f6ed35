"""Compiled networks run by LiteRT alone; TensorFlow is never imported."""

import threading
from functools import cached_property
from pathlib import Path

import ai_edge_litert
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.core.quiet import hidden

LOADING = threading.Lock()


class Network:
    """Compiled networks in a chain: the output of each is the input of the next.

    Several threads may call it at once: each has its own interpreters, which use one thread. Results do not depend on
    the number of threads.

    Parameters
    ----------
    models : the path of each compiled network, or its content.

    Attributes
    ----------
    engine : name and version of what computes.
    input_shape : (height, width, channels) of the first network's input.

    Raises
    ------
    GraftError
        If a file is missing or not a compiled network.
    """

    engine = f"LiteRT {ai_edge_litert.__version__}"

    def __init__(self, *models: Path | bytes) -> None:
        self._models = models
        self._local = threading.local()
        self.input_shape = tuple(int(side) for side in self._chain()[0].get_input_details()[0]["shape"][1:])

    @cached_property
    def sha256(self) -> list[str]:
        """The hash of each network, 64 hexadecimal digits. `graft predict` does not ask for it."""
        import hashlib

        return [
            sha256_of(model) if isinstance(model, Path) else hashlib.sha256(model).hexdigest() for model in self._models
        ]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        """Return the first output of each network of the chain, without the batch axis, float32.

        Parameters
        ----------
        image : array of `input_shape`; uint8 RGB for a network that starts at the image, else float32.
        """
        outputs = []
        for interpreter in self._chain():
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
            interpreter.invoke()
            image = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
            outputs.append(image)
        return outputs

    def all_outputs(self, image: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the last network, in its order, without the batch axis; `image` as above."""
        self(image)
        last = self._chain()[-1]
        return [last.get_tensor(output["index"])[0] for output in last.get_output_details()]

    def _chain(self) -> list[Interpreter]:
        if not hasattr(self._local, "chain"):
            self._local.chain = [_interpreter(model) for model in self._models]
        return self._local.chain


def _interpreter(model: Path | bytes) -> Interpreter:
    if isinstance(model, Path) and not model.is_file():
        raise GraftError(f"{model}: no such file; `dvc repro` writes it")
    try:
        # Standard error belongs to the whole process, so only one thread at a time may hide it.
        with LOADING, hidden():
            source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
            interpreter = Interpreter(**source, num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        name = model if isinstance(model, Path) else "the network"
        raise GraftError(f"{name}: not a compiled network; `dvc repro` writes it anew") from error
    return interpreter
