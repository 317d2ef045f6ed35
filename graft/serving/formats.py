"""The exported classifier in further formats: quantised, as ONNX, and as Keras writes it."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from graft.backbone.compile import scaled
from graft.backbone.int8 import calibration_images, in_int8
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, write_bytes, write_json
from graft.core.packages import require_formats
from graft.core.quiet import hidden
from graft.heads.head import read_head
from graft.images.table import ImageTable, read_image_table, with_few_for_validation
from graft.scores.loss import PROBABILITY_FLOOR
from graft.serving.export import Candidate, candidates
from graft.serving.metadata import outputs_of, with_metadata
from graft.serving.none_of_these import Limits
from graft.serving.runtimes import compared, of_format, probabilities
from graft.settings import params

# Losses on the validation part that are the same but for rounding.
SAME_LOSS = 1e-4
Prepare = Callable[[Any], None]


def onnx_content(network: bytes, description: Mapping[str, Any]) -> bytes:
    """Return the ONNX file of a compiled network, as `onnx_file.to_onnx` does."""
    # Only here, because the package onnx is optional.
    from graft.serving.onnx_file import to_onnx

    return to_onnx(network, description)


def quantised(
    name: str, candidate: Candidate, limits: Limits, description: Mapping[str, Any], table: ImageTable
) -> bytes:
    """Return a compiled network with quantised weights and its metadata; the same bytes each time.

    Parameters
    ----------
    name : tflite_float16, or tflite_int8: it computes in whole numbers of 8 bits too, which are too coarse for the
        output "none of these". That one is left out.
    candidate : the exported model.
    limits : of the model.
    description : the content of models/labels.json.
    table : all images; for tflite_int8, training images show the range of each value inside the network.
    """
    prepare: Prepare = _float16
    if name == "tflite_int8":
        images = calibration_images(table.part("train"), description["image_size"], description["resize"])
        prepare = in_int8(images)
        limits = limits._replace(second_output=None)
        description = {**description, "none_of_these": None}
    with hidden():
        network = candidate.compiled(limits, prepare)
    return with_metadata(network, description, outputs_of(description))


def _float16(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def write_formats(
    names: Sequence[str], candidate: Candidate, limits: Limits, description: Mapping[str, Any], table: ImageTable
) -> dict[str, dict[str, float]]:
    """Write models/formats; return the figures of each file on the validation part, as `runtimes.compared` does.

    Parameters
    ----------
    names : keys of `paths.FORMATS`.
    candidate : the exported model, which is in models/classifier.tflite.
    limits, description, table : as in `quantised`.

    Raises
    ------
    GraftError
        If the network cannot be written in one of the formats, or a package is not installed.
    """
    require_formats(names, "export.formats")
    shutil.rmtree(paths.FORMATS_FOLDER, ignore_errors=True)
    paths.FORMATS_FOLDER.mkdir(parents=True)
    # For apps, which take the folder; and DVC warns of an empty one.
    write_json(paths.FORMATS_FOLDER / paths.LABELS.name, description)
    validation, figures = table.part("validation"), {}
    shipped = probabilities(of_format("tflite", paths.CLASSIFIER), description, validation.files()) if names else None
    # In the order of the table, so that the order in params.yaml does not matter.
    for name, path in paths.FORMATS.items():
        if name in names and shipped is not None:
            if name == "onnx":
                content = onnx_content(paths.CLASSIFIER.read_bytes(), description)
            else:
                content = quantised(name, candidate, limits, description, table)
            write_bytes(path, content)
            found = probabilities(of_format(name, path), description, validation.files())
            figures[name] = compared(found, shipped, validation.labels)
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; {losses(found, shipped, validation.labels)}")
    return figures


def losses(found: np.ndarray, shipped: np.ndarray, labels: np.ndarray) -> str:
    """Return in words what a file loses against the shipped one.

    It loses nothing that these images can show if it is right as often, and its mean loss is higher by at most two
    standard errors of the differences.

    Parameters
    ----------
    found, shipped : float arrays (images, classes), the probabilities of the two.
    labels : int array (images,), the class of each.
    """
    rows = np.arange(len(labels))
    # As in `cross_entropy`: a quantised file gives probabilities of 0.
    floor = PROBABILITY_FLOOR
    more = np.log(np.maximum(shipped[rows, labels], floor)) - np.log(np.maximum(found[rows, labels], floor))
    error = more.std(ddof=1) / len(more) ** 0.5 if len(more) > 1 else 0.0
    right, before = (int((array.argmax(axis=1) == labels).sum()) for array in (found, shipped))
    if right >= before and more.mean() <= max(2 * error, SAME_LOSS):
        return "it loses nothing that the validation part shows"
    return (
        f"on the validation part {right} of {len(labels)} images are right, {before} with {paths.CLASSIFIER}; "
        f"the loss changes by {more.mean():+.4f}"
    )


def keras_classifier(candidate: Candidate) -> keras.Model:
    """Return the exported model in Keras: RGB images, uint8 (batch, size, size, 3), to probabilities."""
    trunk = candidate.backbone.cut.trunk
    image = keras.Input(trunk.input_shape[1:], dtype="uint8", name="image")
    logits = candidate.upper(trunk(scaled(keras.ops.cast(image, "float32"), candidate.backbone.scaling)))
    return keras.Model(image, keras.ops.softmax(logits), name="classifier")


def exported_model() -> tuple[Candidate, ImageTable]:
    """Return the model of the last export, built again from its weights and calibrated on the validation part.

    The table has the images on which it was judged.

    Raises
    ------
    GraftError
        If there was no export, or the weights are of another run.
    """
    exported, description = read_json(paths.EXPORT_METRICS), read_json(paths.LABELS)
    parameters = params.load()
    table = with_few_for_validation(read_image_table(), parameters.limits.rows_in_memory)
    size = read_json(paths.BACKBONE_DESCRIPTION)["image_size"]
    as_then = {
        "model": exported["exported"],
        "test_resolution": description["image_size"] / size,
        "crops": description["crops"],
    }
    head, classes = read_head(paths.HEAD)
    table.require_classes(classes, paths.HEAD)
    if exported["exported"] == "fine_tuned" and not paths.FINE_TUNED.is_file():
        raise GraftError(f"{paths.FINE_TUNED}: no such file; `dvc checkout` brings it back, `dvc repro` writes it")
    export = parameters.export.model_copy(update=as_then)
    with hidden():
        (found,) = candidates(parameters.model_copy(update={"export": export}), head, table)
    before = exported["exported_validation"]["loss"]
    if abs(found.figures["loss"] - before) > SAME_LOSS:
        raise GraftError(
            f"{paths.EXPORT_METRICS}: its loss on the validation part is {before:.4f}, but the weights in "
            f"{paths.HEAD.parent} have {found.figures['loss']:.4f}: they are of another run; run `dvc repro`"
        )
    return found, table


def write_keras(candidate: Candidate, path: Path) -> None:
    """Write a .keras file, which has the date in it."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "classifier.keras")
        with hidden():
            keras_classifier(candidate).save(file)
        write_bytes(path, file.read_bytes())


def write_saved_model(candidate: Candidate, path: Path) -> None:
    """Write a folder with TensorFlow's SavedModel; an earlier one there is replaced.

    Raises
    ------
    GraftError
        If something else has this name.
    """
    if path.exists() and not (path / "saved_model.pb").is_file():
        raise GraftError(f"{path}: it is there already, and no SavedModel; give another --output")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder, path.name)
        with hidden():
            keras_classifier(candidate).export(written, format="tf_saved_model", verbose=False)
        shutil.rmtree(path, ignore_errors=True)
        written.rename(path)


def write_any(name: str, path: Path) -> None:
    """Write the classifier of the last export in a format.

    Parameters
    ----------
    name : tflite, a key of `paths.FORMATS`, keras or saved_model.
    path : of the file or folder.

    Raises
    ------
    GraftError
        If there was no export, or it cannot be written in this format.
    """
    for needed in (paths.CLASSIFIER, paths.LABELS):
        if not needed.is_file():
            raise GraftError(f"{needed}: no such file; `dvc repro` writes it, `dvc checkout` brings back the last one")
    network, description = paths.CLASSIFIER.read_bytes(), read_json(paths.LABELS)
    if name in ("tflite", "onnx"):
        write_bytes(path, network if name == "tflite" else onnx_content(network, description))
        return
    candidate, table = exported_model()
    if name == "keras":
        write_keras(candidate, path)
    elif name == "saved_model":
        write_saved_model(candidate, path)
    else:
        limits = candidate.limits(table, params.load().predict.coverage)
        write_bytes(path, quantised(name, candidate, limits, description, table))
