"""What a classifier does not know, measured on the validation part: prediction sets, and images of no class."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from graft.activations.litert import Network
from graft.core.files import write_bytes
from graft.core.threads import in_order
from graft.heads.attach import SecondOutput
from graft.images import loader
from graft.images.table import ImageTable
from graft.scores.conformal import images_needed, least_probability
from graft.scores.known import ACCEPTED, PROBABILITY_FLOOR, KnownScore, entropy, fit_known_score, unit_rows
from graft.scores.loss import softmax
from graft.serving.references import nearest, reference_rows, similarities

# Features that are all zero have no direction, and no similarity.
TINY = 1e-12


class Limits(NamedTuple):
    """What the validation part says of a classifier's limits.

    Attributes
    ----------
    description : further keys of models/labels.json.
    second_output : for `attach.compile_classifier`; None with too few validation images.
    warnings : a line for each part that is left out.
    """

    description: dict[str, Any]
    second_output: SecondOutput | None
    warnings: list[str]


def measure_limits(
    network: bytes, temperature: float, description: dict[str, Any], table: ImageTable, coverage: float
) -> Limits:
    """Return the prediction sets of a classifier, and its answer for images of none of the classes.

    Parameters
    ----------
    network : the compiled classifier, uncalibrated, with its features as second output.
    temperature : calibrates it.
    description : the content of models/labels.json so far.
    table : all images. New images are compared with those of the training part; the validation part gives thresholds.
    coverage : `predict.coverage` of params.yaml.
    """
    validation = table.part("validation")
    # Several BLAS threads could change the last bits.
    with TemporaryDirectory() as folder, threadpool_limits(1, "blas"):
        path = Path(folder, "with_features.tflite")
        write_bytes(path, network)
        run = _Run(Network(path), temperature, description)
        references = run.references(table.part("train"))
        measured = list(in_order(lambda image: run.measure(image, references), validation.files()))
    probabilities, similar, entropies = (np.array(values) for values in zip(*measured, strict=True))
    least = least_probability(probabilities, validation.labels, coverage)
    score = fit_known_score(similar, entropies)
    further: dict[str, Any] = {}
    if least is not None:
        further["prediction_set"] = {"coverage": coverage, "least_probability": least}
    if score is not None:
        further["none_of_these"] = {"output": 1, "threshold": 0.5, "accepted": ACCEPTED}
    second = none_of_these(references, score) if score else None
    return Limits(further, second, _warnings(len(validation), coverage, least, score))


class _Run(NamedTuple):
    """The arguments of `measure_limits`, and the network ready to run."""

    network: Network
    temperature: float
    description: dict[str, Any]

    def references(self, train: ImageTable) -> np.ndarray:
        """Return the features of the images to compare with, float32 array (references, features), of length 1."""
        return unit_rows(np.stack(list(in_order(self._features, train.take(reference_rows(train)).files()))))

    def _features(self, image: Path) -> np.ndarray:
        pixels = loader.load(image, self.description["image_size"], self.description["resize"])
        return self.network.all_outputs(pixels)[1]

    def measure(self, image: Path, references: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return the calibrated probabilities of an image, its similarity and its entropy: means over its crops."""
        wanted = self.description
        crops = loader.load_crops(image, wanted["image_size"], wanted["resize"], wanted["crops"])
        outputs = [self.network.all_outputs(crop) for crop in crops]
        uncalibrated, features = (np.stack(arrays) for arrays in zip(*outputs, strict=True))
        logits = np.log(np.maximum(uncalibrated, np.finfo(np.float32).tiny))
        probabilities = softmax(logits / self.temperature)
        similar = nearest(similarities(features, references))
        return probabilities.mean(axis=0), float(similar.mean()), float(entropy(probabilities).mean())


def _warnings(images: int, coverage: float, least: float | None, score: KnownScore | None) -> list[str]:
    have = f"the validation part has {images} image{'s' * (images != 1)}"
    warnings = []
    if least is None:
        warnings.append(
            f"no prediction sets: predict.coverage {coverage:g} needs {images_needed(coverage)} images, and {have}"
        )
    if score is None:
        warnings.append(f'no "none of these": it needs {images_needed(ACCEPTED)} images, and {have}')
    return warnings


def none_of_these(references: np.ndarray, score: KnownScore) -> SecondOutput:
    """Return a function of probabilities and features, each (1, n), that gives an output (1, 1) from 0 to 1.

    It is above 0.5 where the score is below 0: the image is of none of the classes. It is the logistic function of the
    negative score.

    Parameters
    ----------
    references : float32 array (references, features), the rows to compare with, each of length 1.
    score : of an image's similarity and entropy.
    """
    ops = keras.ops

    def output(probabilities: keras.KerasTensor, features: keras.KerasTensor) -> keras.KerasTensor:
        layer = keras.layers.Dense(len(references), use_bias=False, name="references")
        products = layer(features)
        layer.set_weights([references.T])
        length = ops.sqrt(ops.sum(features * features, axis=-1, keepdims=True) + TINY)
        similarity = ops.max(products, axis=-1, keepdims=True) / length
        spread = -ops.sum(probabilities * ops.log(probabilities + PROBABILITY_FLOOR), axis=-1, keepdims=True)
        return ops.sigmoid(score.offset + score.entropy * spread - score.similarity * similarity)

    return output
