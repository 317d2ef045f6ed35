"""What is fuzzed: each function reads one input, and may raise `GraftError` with one line, but nothing else."""

import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import keras

from graft.backbone.compile import compile_network
from graft.backbone.torch_checkpoint import read_checkpoint
from graft.backbone.weights import load_weights
from graft.core.errors import GraftError
from graft.data.archives import Bounds, unpack
from graft.images import loader
from graft.serving.classifier import Classifier
from graft.settings import params

CORPUS = Path(__file__).parent / "corpus"
SECONDS_AN_INPUT = 20


def _decoder(file: Path) -> None:
    image = loader.decode(file.read_bytes(), 16, file.name)
    assert image.mode == "RGB"


def _checkpoint(file: Path) -> None:
    read_checkpoint(file)


@cache
def _network() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="small")


def _weights(file: Path) -> None:
    # Keras chooses the reader by the suffix.
    named = file.with_name("input.weights.h5" if file.read_bytes()[:2] != b"PK" else "input.keras")
    shutil.copyfile(file, named)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_weights(_network(), named)


def _archive(file: Path) -> None:
    unpack(file, file.with_name("unpacked"), Bounds(10**9, 10**5))


def _params(file: Path) -> None:
    params.load(file)


@cache
def _compiled() -> bytes:
    image = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(image))
    return compile_network(keras.Model(image, outputs, name="classifier"), lambda images: images / 255)


def _labels(file: Path) -> None:
    network, image = file.with_name("classifier.tflite"), file.with_name("image.png")
    network.write_bytes(_compiled())
    shutil.copyfile(CORPUS / "decoder" / "rgb.png", image)
    Classifier(network, file).probabilities(image)


TARGETS: dict[str, Callable[[Path], None]] = {
    "decoder": _decoder,
    "checkpoint": _checkpoint,
    "weights": _weights,
    "archive": _archive,
    "params": _params,
    "labels": _labels,
}


def read(target: str, data: bytes, folder: Path) -> None:
    """Let a target read an input, from a file in `folder`, which is emptied.

    Raises
    ------
    Exception
        If it raises anything but `GraftError` with a message of one line, or takes too long.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "input"
    file.write_bytes(data)
    try:
        with _time_limit():
            TARGETS[target](file)
    except GraftError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"more than one line: {error}") from error


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {SECONDS_AN_INPUT} seconds")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_AN_INPUT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
