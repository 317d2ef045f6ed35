"""The exported classifier: an image file in, a probability for each class out, without TensorFlow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from graft.activations.litert import Network
from graft.core.files import read_json
from graft.core.threads import in_order
from graft.images import loader


class Classifier:
    """What `export` wrote: a compiled network and how its images are made.

    Attributes
    ----------
    labels : the classes, in the order of the probabilities.
    names : what they are called where people read them, in the same order.
    """

    def __init__(self, network: Path, description: Path):
        # Earlier exports look at one square and do not say so.
        self._description = {"crops": 1} | read_json(description)
        self._network = Network(network)
        self.labels: list[str] = self._description["labels"]
        called = self._description.get("display_names", {})
        self.names = [called.get(label, label) for label in self.labels]

    def of_squares(self, path: Path) -> np.ndarray:
        """Return the probability of each class on each square of an image, float32 array (squares, classes).

        Raises
        ------
        UnreadableImageError
            If the file is no readable image.
        """
        squares = loader.load_squares(path, *(self._description[key] for key in ("image_size", "resize", "crops")))
        return np.stack([self._network(square)[-1] for square in squares])

    def probabilities(self, path: Path) -> np.ndarray:
        """Return the probability of each class, float32 array (classes,) that sums to 1: the mean over all squares.

        Raises
        ------
        UnreadableImageError
            If the file is no readable image.
        """
        return self.of_squares(path).mean(axis=0)

    def all_probabilities(self, paths: Sequence[Path]) -> Iterator[np.ndarray]:
        """Return an iterator over `probabilities` of each file, in order, computed in threads."""
        return in_order(self.probabilities, paths)
