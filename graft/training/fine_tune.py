"""Fine-tuning as a whole: which views each epoch sees, how long it lasts, and how far from the head it goes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from graft.activations.engines import in_metrics
from graft.activations.inference import Activations
from graft.activations.maps import Maps, maps_for_training
from graft.activations.requests import Request
from graft.activations.split_requests import IMAGES_AT_ONCE
from graft.heads.attach import set_temperature
from graft.images.table import ImageTable
from graft.images.view_order import view_in_epoch
from graft.scores import metrics
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax
from graft.settings import params
from graft.settings.extract import Extract
from graft.training import loop
from graft.training.batches import Examples
from graft.training.precision import supported_precision

# `fine_tune.interpolation: auto` chooses one of these by the validation loss.
SHARES = (0.25, 0.5, 0.75, 1.0)
# `fine_tune.epochs: auto` is this many epochs, or more where they have fewer than this many steps.
EPOCHS = 8
STEPS = 300


def resolved_settings(settings: params.FineTune, training_images: int, gpu: str | None = None) -> params.FineTune:
    """Return the settings with a number of epochs and a precision in place of ``auto``.

    Parameters
    ----------
    settings : `fine_tune` of params.yaml.
    training_images : how many there are, from 1.
    gpu : as for `supported_precision`.
    """
    epochs = settings.epochs
    if epochs == "auto":
        epochs = max(EPOCHS, math.ceil(STEPS / math.ceil(training_images / settings.batch_size)))
    precision = supported_precision(settings.precision, gpu=gpu)
    return settings.model_copy(update={"epochs": epochs, "precision": precision})


def maps_of(table: ImageTable, parameters: params.Parameters) -> tuple[Maps, Extract]:
    """Return where the maps come from, and the settings of what computes them."""
    views = len(table.part("train")) * parameters.augment.views
    maps = maps_for_training(parameters.fine_tune.maps, len(table) + views)
    engine = maps.engine(parameters.extract, parameters.fine_tune.batch_size)
    by = "".join(f"; engine: {name}" for name in in_metrics(engine).values())
    return maps._replace(line=maps.line + by), engine


@dataclass(frozen=True)
class EpochBlocks:
    """The requests that training reads, each once, some images at a time: they take no memory.

    Attributes
    ----------
    train, validation : the images of these parts, a request for each.
    epochs : how many there are, from 0.
    views : how many augmented views a training image has, from 0.
    """

    train: Sequence[Request]
    validation: Sequence[Request]
    epochs: int
    views: int

    @property
    def training_views(self) -> int:
        """How many views of the training images are read. An image as it is counts as one."""
        return len(self.train) * self._views_of_image

    @property
    def _views_of_image(self) -> int:
        return min(self.epochs, self.views + 1)

    def __iter__(self) -> Iterator[list[Request]]:
        for start in range(0, len(self.train), IMAGES_AT_ONCE):
            images = self.train[start : start + IMAGES_AT_ONCE]
            yield [_at_epoch(image, epoch, self.views) for image in images for epoch in range(self._views_of_image)]
        for start in range(0, len(self.validation), IMAGES_AT_ONCE):
            yield list(self.validation[start : start + IMAGES_AT_ONCE])


def examples(
    activations: Activations,
    images: Sequence[Request],
    labels: np.ndarray,
    views: int,
    on_batch: Callable[[], object] = lambda: None,
) -> Examples:
    """Return the maps of images as examples for `loop.train`.

    Parameters
    ----------
    activations : whose output "map" is read.
    images : a request for each.
    labels : int array (images,), from 0.
    views : how many augmented views an image has; each epoch reads another one. 0 reads the images as they are.
    on_batch : called each time that a batch is read.
    """

    def read(rows: np.ndarray, epoch: int) -> np.ndarray:
        on_batch()
        return activations.read("map", [_at_epoch(images[row], epoch, views) for row in rows])

    return Examples(read, labels)


def fine_tune(
    model: keras.Model, train: Examples, validation: Examples, settings: params.FineTune, **options: Any
) -> tuple[list[loop.Row], float, dict[str, float]]:
    """Train a network in place, then interpolate its weights and calibrate it on the validation part.

    Parameters
    ----------
    model, train, validation, settings : as for `loop.train`.
    options : the other arguments of `loop.train`.

    Returns
    -------
    history : a row for each epoch, as `loop.train` returns it.
    share : the network's place between its weights before training (0) and after it (1), above 0.
    figures : `metrics.accuracy_and_loss` of the network on the validation part.
    """
    start = model.get_weights()
    history = loop.train(model, train, validation, settings, **options)
    shares = SHARES if settings.interpolation == "auto" else [settings.interpolation]
    return history, *interpolate(model, start, shares, validation)


def kept_epoch(history: Sequence[loop.Row], monitor: str | None) -> int:
    """Return the epoch, from 1, whose weights `loop.train` keeps: the first one that is best by `monitor`, or the last.

    Parameters
    ----------
    history : a row for each epoch; without any, the result is 0.
    monitor : val_loss, val_accuracy or None.
    """
    if not monitor or not history:
        return len(history)
    sign = -1 if monitor == "val_accuracy" else 1
    return int(min(history, key=lambda row: sign * row[monitor])["epoch"])


def outcome(history: Sequence[loop.Row], monitor: str | None, share: float) -> str:
    """Return what fine-tuning did, in words; arguments as of `kept_epoch`, and the share that `fine_tune` returns."""
    if not history:
        return "not fine-tuned, as fine_tune.epochs is 0: lr has no effect, and the weights are the head's"
    epoch = kept_epoch(history, monitor)
    return f"fine-tuned for {len(history)} epochs, epoch {epoch} is kept, {share:.0%} of the way from the head"


def interpolate(
    model: keras.Model, start: Sequence[np.ndarray], shares: Sequence[float], validation: Examples
) -> tuple[float, dict[str, float]]:
    """Set a network to the best weights between `start` and its own: those with the lowest validation loss.

    For each share the logits are divided by the temperature that fits the validation part best, in the loss and in the
    network. Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903, section 3.

    Parameters
    ----------
    model : maps to logits; changed in place.
    start : weights as `get_weights` returns them.
    shares : the places to try, from 0 (`start`) to 1 (the network's own weights).
    validation : examples, read at epoch 0.

    Returns
    -------
    The best share, and `metrics.accuracy_and_loss` of the network on the validation part.
    """
    end, candidates = model.get_weights(), []
    weights = (weights_between(start, end, share) for share in shares)
    for logits in loop.logits(model, weights, validation):
        temperature = fit_temperature(logits, validation.labels)
        candidates.append((temperature, metrics.accuracy_and_loss(softmax(logits / temperature), validation.labels)))
    best = int(np.argmin([figures["loss"] for _, figures in candidates]))
    temperature, figures = candidates[best]
    model.set_weights(weights_between(start, end, shares[best]))
    set_temperature(model, temperature)
    return shares[best], figures


def weights_between(start: Sequence[np.ndarray], end: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """Return the weights on the straight line from `start` (share 0) to `end` (share 1), array by array."""
    return [(1 - share) * first + share * last for first, last in zip(start, end, strict=True)]


def _at_epoch(image: Request, epoch: int, views: int) -> Request:
    return image._replace(view=view_in_epoch(image.sha256, epoch, views))
