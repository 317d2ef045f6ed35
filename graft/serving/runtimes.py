"""The exported files run by LiteRT, onnxruntime or MediaPipe Tasks, and compared with the shipped one.

Only what runs a file is imported, when it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from graft.activations.litert import Network
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.packages import require
from graft.core.quiet import hidden
from graft.core.threads import in_order
from graft.images import loader
from graft.images.table import ImageTable
from graft.scores.calibration import expected_calibration_error
from graft.scores.metrics import accuracy_and_loss

# An image, uint8 array (height, width, 3), to float32 array (classes,).
Run = Callable[[np.ndarray], np.ndarray]
# Probabilities are the same to about six decimal places; further ones differ between processors.
DECIMALS = 6


def litert(path: Path) -> Run:
    """Return what runs a compiled network in LiteRT, in one thread for each caller's thread."""
    network = Network(path)
    return lambda image: network(image)[-1]


def onnxruntime(path: Path) -> Run:
    """Return what runs an ONNX file in onnxruntime, in the caller's thread.

    Raises
    ------
    GraftError
        If onnxruntime is not installed, or the file is missing or broken.
    """
    require(str(path), ("onnxruntime",), "onnx")
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not path.is_file():
        raise GraftError(f"{path}: no such file; `dvc repro` writes it")
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    # It has its own exceptions, whose only common base is this one.
    except Exception as error:
        raise GraftError(f"{path}: not an ONNX file that onnxruntime reads; `dvc repro` writes it anew") from error
    name, first = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    return lambda image: session.run(first, {name: image[np.newaxis]})[0][0]


def mediapipe(path: Path, opened: ExitStack) -> Run:
    """Return what runs a compiled network in MediaPipe Tasks, which stretches an image to the network's size.

    Parameters
    ----------
    path : of the compiled network.
    opened : closes it.

    Raises
    ------
    GraftError
        If mediapipe is not installed, or does not take the file.
    """
    require(str(path), ("mediapipe",), "mediapipe")
    with hidden():
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
        try:
            classifier = vision.ImageClassifier.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise GraftError(f"{path}: MediaPipe Tasks does not take it ({error})") from error

    # Its own clean-up fails when Python ends.
    opened.callback(classifier.close)

    def run(image: np.ndarray) -> np.ndarray:
        taken = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        categories = classifier.classify(taken).classifications[0].categories
        scores = np.zeros(len(categories), np.float32)
        scores[[category.index for category in categories]] = [category.score for category in categories]
        return scores

    return run


def of_format(name: str, path: Path) -> Run:
    """Return what runs the file of a format: onnxruntime for onnx, else LiteRT."""
    return onnxruntime(path) if name == "onnx" else litert(path)


def probabilities(run: Run, description: Mapping[str, Any], files: Sequence[Path]) -> np.ndarray:
    """Return the probabilities of images, float32 array (images, classes): for each the mean over its crops.

    Parameters
    ----------
    run : takes crops.
    description : the content of models/labels.json.
    files : the images.
    """

    def of_file(path: Path) -> np.ndarray:
        crops = loader.load_crops(path, description["image_size"], description["resize"], description["crops"])
        return np.stack([run(crop) for crop in crops]).mean(axis=0)

    return np.stack(list(in_order(of_file, files)))


def compared(found: np.ndarray, shipped: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures of a file beside the shipped one, on the same images.

    Parameters
    ----------
    found, shipped : float arrays (images, classes), the probabilities of the two.
    labels : int array (images,), the class of each.

    Returns
    -------
    accuracy, loss, expected_calibration_error : of the file.
    agreement : the share of the images to which both give the same class.
    largest_difference : of a probability.
    """
    return {
        **accuracy_and_loss(found, labels),
        "expected_calibration_error": expected_calibration_error(found, labels),
        "agreement": float((found.argmax(axis=1) == shipped.argmax(axis=1)).mean()),
        "largest_difference": round(float(np.abs(found - shipped).max()), DECIMALS),
    }


def figures_of_formats(
    shipped: np.ndarray, description: Mapping[str, Any], images: ImageTable
) -> dict[str, dict[str, float]]:
    """Return `compared` of each file in models/formats, and its size in bytes, by the name of its format.

    The shipped file is among them, as tflite. Without further files there is nothing to compare, and no entry.

    Parameters
    ----------
    shipped : the probabilities of the shipped file, float array (images, classes).
    description : the content of models/labels.json.
    images : to run the files on.

    Raises
    ------
    GraftError
        If a file is broken, or the package that runs it is not installed.
    """
    files = {name: path for name, path in paths.FORMATS.items() if path.is_file()}
    if not files:
        return {}
    found = {"tflite": {"bytes": paths.CLASSIFIER.stat().st_size} | compared(shipped, shipped, images.labels)}
    for name, path in files.items():
        results = probabilities(of_format(name, path), description, images.files())
        found[name] = {"bytes": path.stat().st_size} | compared(results, shipped, images.labels)
    return found
