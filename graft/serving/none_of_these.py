"""What a classifier does not know, measured on the validation part: prediction sets, and images of no class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from graft.activations.litert import Network
from graft.core.threads import in_order
from graft.heads.attach import SecondOutput
from graft.images import loader
from graft.images.table import ImageTable
from graft.scores.conformal import images_needed, least_probability
from graft.scores.known import ACCEPTED, PROBABILITY_FLOOR, KnownScore, entropy, fit_known_score
from graft.scores.loss import softmax
from graft.serving.references import centres, nearest, reference_rows, similarities

# Features that are all zero have no direction, and no similarity.
TINY = 1e-12


class Measured(NamedTuple):
    """What an uncalibrated classifier gives for the images of the validation part.

    Where `resize` cuts nothing off an image, it has one crop; that is repeated to fill the arrays.

    Attributes
    ----------
    logits : float32 (images, crops, classes).
    similarity : float32 (images, crops), to the most similar of the references.
    references : float32 (references, features), `centres` of the training images.
    """

    logits: np.ndarray
    similarity: np.ndarray
    references: np.ndarray


def measure(network: bytes, description: dict[str, Any], table: ImageTable) -> list[Measured]:
    """Run classifiers that are compiled together on the validation part, and on the training images to compare with.

    Parameters
    ----------
    network : of `compile_together`.
    description : the content of models/labels.json so far.
    table : all images.

    Returns
    -------
    One for each classifier, in the network's order.
    """
    run = _Run(Network(network), description)
    train, validation = table.part("train"), table.part("validation")
    # Several BLAS threads could change the last bits.
    with threadpool_limits(1, "blas"):
        some = train.take(reference_rows(train))
        rows = list(in_order(run.features, some.files()))
        references = [centres(np.stack(of_model), some.labels)[0] for of_model in zip(*rows, strict=True)]
        found = list(in_order(lambda image: run.measure(image, references), validation.files()))
    measured = []
    for of_model, those in zip(zip(*found, strict=True), references, strict=True):
        logits, similar = (np.stack(arrays) for arrays in zip(*of_model, strict=True))
        measured.append(Measured(logits, similar, those))
    return measured


class _Run(NamedTuple):
    """Classifiers that are compiled together, and the content of models/labels.json."""

    network: Network
    description: dict[str, Any]

    def features(self, image: Path) -> list[np.ndarray]:
        """Return the features of an image in each classifier, float32 (features,)."""
        pixels = loader.load(image, self.description["image_size"], self.description["resize"])
        return self.network.all_outputs(pixels)[1::2]

    def measure(self, image: Path, references: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the logits (crops, classes) and the similarities (crops,) of an image in each classifier."""
        wanted = self.description
        crops = loader.load_crops(image, wanted["image_size"], wanted["resize"], wanted["crops"])
        outputs = [np.stack(arrays) for arrays in zip(*map(self.network.all_outputs, crops), strict=True)]
        shape = (wanted["crops"], len(wanted["labels"]))
        return [
            (
                np.broadcast_to(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)), shape),
                np.broadcast_to(nearest(similarities(features, those)), shape[:1]),
            )
            for probabilities, features, those in zip(outputs[::2], outputs[1::2], references, strict=True)
        ]


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


def limits(measured: Measured, temperature: float, labels: np.ndarray, coverage: float) -> Limits:
    """Return the prediction sets of a classifier, and its answer for images of none of the classes.

    Parameters
    ----------
    measured : of the classifier.
    temperature : calibrates it.
    labels : int array (images,), the classes of the validation part.
    coverage : `predict.coverage` of params.yaml.
    """
    probabilities = softmax(measured.logits / temperature)
    entropies = entropy(probabilities)
    least = least_probability(probabilities.mean(axis=1), labels, coverage)
    score = fit_known_score(*(per_crop.mean(axis=1).astype(float) for per_crop in (measured.similarity, entropies)))
    further: dict[str, Any] = {}
    if least is not None:
        further["prediction_set"] = {"coverage": coverage, "least_probability": least}
    if score is not None:
        further["none_of_these"] = {"output": 1, "threshold": 0.5, "accepted": ACCEPTED}
    second = none_of_these(measured.references, score) if score else None
    return Limits(further, second, _warnings(len(labels), coverage, least, score))


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
