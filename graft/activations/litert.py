"""Compiled networks run by LiteRT alone; TensorFlow is never imported."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
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

    Several threads may call it at once: each call has interpreters to itself, which use one thread and are used again.
    Results do not depend on the number of threads.

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
        # Interpreters that no thread uses now.
        self._idle: list[list[Interpreter]] = []
        with self._chain() as chain:
            self.input_shape = tuple(int(side) for side in chain[0].get_input_details()[0]["shape"][1:])

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
        with self._chain() as chain:
            return _run(chain, image)

    def all_outputs(self, image: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the last network, in its order, without the batch axis; `image` as above."""
        with self._chain() as chain:
            _run(chain, image)
            return [chain[-1].get_tensor(output["index"])[0] for output in chain[-1].get_output_details()]

    @contextmanager
    def _chain(self) -> Iterator[list[Interpreter]]:
        try:
            chain = self._idle.pop()
        except IndexError:
            chain = [_interpreter(model) for model in self._models]
        try:
            yield chain
        finally:
            self._idle.append(chain)


def output_shape(model: Path) -> tuple[int, ...]:
    """Return the shape of a compiled network's first output, without the batch axis; it raises what `Network` does."""
    return tuple(int(side) for side in _interpreter(model).get_output_details()[0]["shape"][1:])


def _run(chain: list[Interpreter], image: np.ndarray) -> list[np.ndarray]:
    outputs = []
    for interpreter in chain:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        image = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        outputs.append(image)
    return outputs


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
