"""A pretrained network with its published classification layers: ImageNet's 1,000 classes for any photograph."""

from pathlib import Path

import numpy as np

from graft.core.quiet import hidden, importing
from graft.images import loader
from graft.serving.classifier import Prediction
from graft.settings import backbone_table

with importing():
    from graft.backbone import build


class ImagenetClassifier:
    """A backbone with its published classification layers, run by Keras.

    Parameters
    ----------
    backbone : one of `backbone_table.NAMES`.
    weights : `imagenet`, or the path of a Keras file with the weights of the whole network.
    resize : how an image is made square, as in params.yaml.
    max_pixels : an image with more pixels in memory is refused.

    Attributes
    ----------
    labels : the classes, each with its synonyms, in the order of the probabilities.
    names : the first of the synonyms.
    coverage : None, as there are no prediction sets.

    Raises
    ------
    GraftError
        If there is no such backbone, or its ImageNet weights do not exist or cannot be downloaded.
    """

    def __init__(self, backbone: str, weights: str, resize: str, max_pixels: int) -> None:
        self._record = backbone_table.get(backbone)
        self._resize, self._max_pixels = resize, max_pixels
        with hidden():
            self._model = build.imagenet_classifier(backbone, weights)
        self.coverage: float | None = None
        self.labels = build.imagenet_names()
        self.names = [label.partition(",")[0] for label in self.labels]

    def probabilities(self, path: Path) -> np.ndarray:
        """Return the probability of each class, float32 array (1000,) that sums to 1.

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        image = loader.load(path, self._record.image_size, self._resize, self._max_pixels)
        scaled = build.preprocess(self._record.name, image[np.newaxis])
        return np.asarray(self._model(scaled, training=False))[0]

    def predict(self, path: Path) -> Prediction:
        """Return the `probabilities`; these networks have no prediction sets.

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        return Prediction(self.probabilities(path), None, None, None)
