"""graft benchmark: run each exported file on the test part in each runtime that is installed, on one core.

It prints a table and writes benchmark.json. A time is of an image in memory, all its crops; reading the file is not in.
"""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from graft.core import paths
from graft.core.errors import GraftError, nearest
from graft.core.files import read_json, write_json
from graft.core.packages import is_installed
from graft.core.quiet import hidden, importing
from graft.images import loader
from graft.images.decoder import decode
from graft.images.table import ImageTable, read_image_table
from graft.serving import runtimes

EXAMPLE = "graft benchmark --runtime litert --runtime onnxruntime"
SHIPPED = "LiteRT"
COLUMNS = {
    "file": "file",
    "runtime": "runtime",
    "bytes": "MB",
    "accuracy": "accuracy",
    "agreement": "agreement",
    "largest_difference": "largest difference",
    "expected_calibration_error": "calibration error",
    "milliseconds": "ms an image",
}


class Entry(NamedTuple):
    """A file in a runtime.

    Attributes
    ----------
    file : its name.
    runtime : for the table.
    size : of the file, in bytes.
    run : what runs it.
    takes_crops : whether it gets Graft's crops; else it gets the whole image, and resizes it itself.
    """

    file: str
    runtime: str
    size: int
    run: runtimes.Run
    takes_crops: bool = True


def _networks() -> list[Path]:
    found = [paths.CLASSIFIER, *paths.FORMATS.values()]
    return [path for path in found if path.suffix == ".tflite" and path.is_file()]


def _litert(opened: ExitStack) -> Iterator[Entry]:
    for path in _networks():
        yield Entry(path.name, SHIPPED, path.stat().st_size, runtimes.litert(path))


def _mediapipe(opened: ExitStack) -> Iterator[Entry]:
    for path in _networks():
        run, size = runtimes.mediapipe(path, opened), path.stat().st_size
        yield Entry(path.name, "MediaPipe, Graft's crops", size, run)
        yield Entry(path.name, "MediaPipe, own resizing", size, run, takes_crops=False)


def _onnxruntime(opened: ExitStack) -> Iterator[Entry]:
    path = paths.FORMATS["onnx"]
    if not path.is_file():
        raise GraftError(f"onnxruntime: no {path}; add onnx to export.formats, then run `dvc repro`")
    yield Entry(path.name, "onnxruntime", path.stat().st_size, runtimes.onnxruntime(path))


def _keras(opened: ExitStack) -> Iterator[Entry]:
    with importing():
        import keras

        from graft.serving import formats
    with TemporaryDirectory() as folder:
        path = Path(folder, "classifier.keras")
        formats.write_keras(formats.exported_model()[0], path)
        size = path.stat().st_size
        with hidden():
            model = keras.saving.load_model(path)

    def run(image: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict_on_batch(image[np.newaxis]))[0]

    yield Entry(path.name, "Keras", size, run)


# The runtimes, each with the package that it needs and the extra of pyproject.toml that has it.
RUNTIMES: dict[str, tuple[Callable[[ExitStack], Iterator[Entry]], str, str]] = {
    "litert": (_litert, "ai_edge_litert", ""),
    "mediapipe": (_mediapipe, "mediapipe", "mediapipe"),
    "onnxruntime": (_onnxruntime, "onnxruntime", "onnx"),
    "keras": (_keras, "keras", ""),
}


def entries(names: Sequence[str] | None, opened: ExitStack) -> Iterator[Entry]:
    """Yield each file in each runtime; without `names`, a line says which runtime is left out, and why.

    Parameters
    ----------
    names : keys of `RUNTIMES`; None: all that are installed.
    opened : closes what must be closed after use.

    Raises
    ------
    GraftError
        If a runtime of `names` is unknown, is not installed, or has no file.
    """
    for name in names or RUNTIMES:
        if name not in RUNTIMES:
            raise GraftError(f"--runtime: no runtime is called {name!r}; {nearest(name, RUNTIMES)}")
    for name in dict.fromkeys(names or RUNTIMES):
        of_runtime, package, extra = RUNTIMES[name]
        try:
            if not is_installed(package):
                raise GraftError(  # noqa: TRY301 - one place for both reasons
                    f"{name}: not installed; run pip install -c constraints.txt -e '.[{extra}]'"
                )
            yield from of_runtime(opened)
        except GraftError as error:
            if names:
                raise
            print(f"left out: {error}")


@contextmanager
def _one_core() -> Iterator[None]:
    """Let all threads that start in the block, and this one, use one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(cores)})
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measured(found: Sequence[Entry], description: Mapping[str, Any], images: ImageTable) -> Iterator[dict[str, object]]:
    """Yield a row for each entry: the keys of `COLUMNS`, and what else `runtimes.compared` has.

    The first entry is the shipped file. The entries take turns at each image, so that all have the same conditions.

    Parameters
    ----------
    found : what to run.
    description : the content of models/labels.json.
    images : of the test part.
    """
    size, resize = description["image_size"], description["resize"]
    probabilities: list[list[np.ndarray]] = [[] for _ in found]
    seconds: list[list[float]] = [[] for _ in found]
    for path in tqdm(images.files(), "test images", unit="", leave=False, disable=None):
        crops = loader.load_crops(path, size, resize, description["crops"])
        whole = [np.asarray(decode(loader.content(path), size, str(path), max_pixels=None))]
        for place, entry in enumerate(found):
            start = time.perf_counter()
            of_crops = [entry.run(image) for image in (crops if entry.takes_crops else whole)]
            seconds[place].append(time.perf_counter() - start)
            probabilities[place].append(np.stack(of_crops).mean(axis=0))
    shipped = np.stack(probabilities[0])
    for entry, of_images, times in zip(found, probabilities, seconds, strict=True):
        figures = runtimes.compared(np.stack(of_images), shipped, images.labels)
        yield {
            "file": entry.file,
            "runtime": entry.runtime,
            "bytes": entry.size,
            **figures,
            "milliseconds": round(1000 * float(np.median(times)), 3),
        }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as text, a line each, under a line of headings."""
    texts = [list(COLUMNS.values())]
    for row in rows:
        shares = [f"{row[name]:.4f}" for name in ("accuracy", "agreement")]
        texts.append(
            [
                row["file"],
                row["runtime"],
                f"{row['bytes'] / 1e6:.1f}",
                *shares,
                f"{row['largest_difference']:.6f}",
                f"{row['expected_calibration_error']:.4f}",
                f"{row['milliseconds']:.2f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in texts
    )


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft benchmark`."""
    parser.add_argument(
        "--runtime",
        action="append",
        metavar="NAME",
        help=f"{', '.join(RUNTIMES)}; may be given several times (default: all that are installed)",
    )


def main(arguments: Namespace) -> None:
    """Print the table and write benchmark.json."""
    names = arguments.runtime
    # The first row is the shipped file, which the others are compared with.
    wanted = names and ["litert", *names]
    with _one_core(), ExitStack() as opened:
        found = list(entries(wanted, opened))
        description, images = read_json(paths.LABELS), read_image_table().part("test")
        rows = list(measured(found, description, images))
    write_json(paths.BENCHMARK, {"images": len(images), "rows": rows})
    print(table(rows))
    print(f"{len(images)} test images, each of {description['crops']} crops at most, on one core; {paths.BENCHMARK}")
