"""Fine-tuning as a whole: which views each epoch sees, how long it lasts, and how far from the head it goes."""

import math
from collections.abc import Sequence

import keras
import numpy as np

from graft.activations.inference import Activations, Request
from graft.heads.attach import set_temperature
from graft.images.view_order import view_in_epoch
from graft.scores import metrics
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax
from graft.settings import params
from graft.training import loop
from graft.training.precision import supported_precision

# `fine_tune.interpolation: auto` chooses from these by the validation loss.
SHARES = (0.25, 0.5, 0.75, 1.0)
# `fine_tune.epochs: auto`: this many epochs, or more where they are fewer than this many steps.
EPOCHS = 8
STEPS = 300


def resolved_settings(settings: params.FineTune, training_images: int) -> params.FineTune:
    """Return the settings with a number of epochs and a precision in place of ``auto``."""
    epochs = settings.epochs
    if epochs == "auto":
        epochs = max(EPOCHS, math.ceil(STEPS / math.ceil(training_images / settings.batch_size)))
    return settings.model_copy(update={"epochs": epochs, "precision": supported_precision(settings.precision)})


def views_in_epochs(images: Sequence[Request], epochs: int, views: int) -> list[Request]:
    """Return each view of the images that the epochs see, once."""
    seen = (image._replace(view=view_in_epoch(image.sha256, e, views)) for e in range(epochs) for image in images)
    return list(dict.fromkeys(seen))


def examples(activations: Activations, images: Sequence[Request], labels: np.ndarray, views: int) -> loop.Examples:
    """Return the maps of images as `loop.train` reads them: in each epoch another of their views, from 0 to `views`."""

    def read(rows: np.ndarray, epoch: int) -> np.ndarray:
        chosen = [images[row] for row in rows]
        return activations.read("map", [i._replace(view=view_in_epoch(i.sha256, epoch, views)) for i in chosen])

    return loop.Examples(read, labels)


def fine_tune(
    model: keras.Model,
    train: loop.Examples,
    validation: loop.Examples,
    settings: params.FineTune,
    **options: object,
) -> tuple[list[loop.Row], float, dict[str, float]]:
    """Train a network in place, then interpolate its weights and calibrate it on the validation part.

    Parameters
    ----------
    model, train, validation, settings : as for `loop.train`.
    options : its other arguments.

    Returns
    -------
    history : a row for each epoch, as `loop.train` returns it.
    share : how far from its first weights to its last ones the network was set, above 0 and up to 1.
    figures : `metrics.choice` of the network on the validation part.
    """
    start = model.get_weights()
    history = loop.train(model, train, validation, settings, **options)
    shares = SHARES if settings.interpolation == "auto" else [settings.interpolation]
    return history, *interpolate(model, start, shares, validation)


def interpolate(
    model: keras.Model, start: list[np.ndarray], shares: Sequence[float], validation: loop.Examples
) -> tuple[float, dict[str, float]]:
    """Set a network to the weights on the line from `start` to its own with the lowest calibrated validation loss.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903, section 3.

    Parameters
    ----------
    model : its weights are one end of the line; it is changed in place.
    start : the weights at the other end, as `get_weights` returns them.
    shares : of the way from `start`, to choose from, each from 0 to 1.
    validation : examples, read at epoch 0.

    Returns
    -------
    The share, and `metrics.choice` of the network on the validation part.
    """
    end, candidates = model.get_weights(), []
    weights = (loop.interpolated(start, end, share) for share in shares)
    for logits in loop.logits(model, weights, validation):
        temperature = fit_temperature(logits, validation.labels)
        candidates.append((temperature, metrics.choice(softmax(logits / temperature), validation.labels)))
    best = int(np.argmin([figures["loss"] for _, figures in candidates]))
    temperature, figures = candidates[best]
    model.set_weights(loop.interpolated(start, end, shares[best]))
    set_temperature(model, temperature)
    return shares[best], figures
