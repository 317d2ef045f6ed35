"""The engine `tensorflow`: the frozen network as one compiled function of many images, on a GPU where there is one.

Threads decode the images of the next batch while the network runs on one. All batches have the same size, the last one
filled up with black images: the function is compiled once, and the last bits of an image do not depend on how many
images were left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from graft.activations.requests import Pixels, Request, Row, by_image, in_stored_types
from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.core.quiet import hidden, importing
from graft.core.threads import in_order
from graft.images.decoder import UnreadableImageError
from graft.settings.extract import Extract

# A view that the network gets, or why the image cannot be read.
Decoded = tuple[Request, np.ndarray | UnreadableImageError]
Batch = list[Decoded]


@cache
def gpu_names() -> list[str]:
    """Return the names of the GPUs that TensorFlow sees, such as "NVIDIA H100 80GB HBM3"."""
    with importing():
        import tensorflow as tf
    with hidden():
        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [detail.get("device_name", "GPU") for detail in details]


def engine_of(settings: Extract) -> str:
    """Return the name of the engine with these settings: what its numbers depend on besides the network."""
    library, batch = f"TensorFlow {version('tensorflow')}", f"batches of {settings.batch_size}"
    return f"{library}, {settings.precision} on {_device()}, {batch}"


def _device() -> str:
    return (gpu_names() or ["CPU"])[0]


class TensorFlow:
    """The frozen network as a compiled TensorFlow function; what `engines.Engine` says.

    Parameters
    ----------
    files : the compiled networks of LiteRT, which identify the network.
    build : returns the network: from uint8 images (images, size, size, 3) to a list of outputs (images, ...). It is
        called when the first image is to be computed.
    settings : `extract` of params.yaml; `build` knows its precision.
    """

    def __init__(self, files: Sequence[Path], build: Callable[[], Any], settings: Extract) -> None:
        self._build, self._batch_size, self._precision = build, settings.batch_size, settings.precision
        self.engine = engine_of(settings)
        self.sha256: Sequence[str] = [sha256_of(path) for path in files]
        self._functions: dict[int, Any] = {}

    def rows(self, outputs: Sequence[str], pixels: Pixels, requests: Iterable[Request]) -> Iterator[Row]:
        """Yield each request with its outcome, as `Engine` says."""

        def decode(of_image: list[Request]) -> Batch:
            path, sha256, _ = of_image[0]
            try:
                views = pixels.views(path, sha256, [request.view for request in of_image])
                return list(zip(of_image, views, strict=True))
            except UnreadableImageError as error:
                return [(request, error) for request in of_image]

        decoded = (view for views in in_order(decode, by_image(requests)) for view in views)
        earlier: tuple[Batch, list[Any]] | None = None
        while batch := list(islice(decoded, self._batch_size)):
            # A GPU computes a batch while the next one is decoded: TensorFlow waits when its numbers are read.
            started = batch, self._started(batch, pixels.size)
            if earlier:
                yield from self._finished(outputs, *earlier)
            earlier = started
        if earlier:
            yield from self._finished(outputs, *earlier)

    def _started(self, batch: Batch, size: int) -> list[Any]:
        images = np.zeros((self._batch_size, size, size, 3), np.uint8)
        for place, (_, view) in enumerate(batch):
            if isinstance(view, np.ndarray):
                images[place] = view
        with self._memory_errors():
            return self._compiled(size)(images)

    def _finished(self, outputs: Sequence[str], batch: Batch, results: list[Any]) -> Iterator[Row]:
        with self._memory_errors():
            arrays = [np.asarray(result) for result in results]
        for place, (request, view) in enumerate(batch):
            if isinstance(view, UnreadableImageError):
                yield request, view
            else:
                of_view = (array[place] for array in arrays)
                yield request, in_stored_types(dict(zip(outputs, of_view, strict=True)))

    def _compiled(self, size: int) -> Any:
        if size not in self._functions:
            with importing():
                import tensorflow as tf
            if self._precision == "float32":
                # Else a GPU of today rounds the factors of each product to 11 bits.
                tf.config.experimental.enable_tensor_float_32_execution(False)
            network = self._build()
            signature = [tf.TensorSpec((self._batch_size, size, size, 3), tf.uint8)]

            @tf.function(input_signature=signature, autograph=False)
            def function(images: Any) -> list[Any]:
                return [tf.cast(output, tf.float32) for output in network(images)]

            self._functions[size] = function
        return self._functions[size]

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        import tensorflow as tf

        try:
            yield
        except tf.errors.ResourceExhaustedError as error:
            raise GraftError(
                f"extract.batch_size: {self._batch_size} images do not fit into the memory of {_device()}; "
                "set a smaller number"
            ) from error
