"""The exported classifier: an image file in, a probability for each class out, without TensorFlow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from graft.activations.litert import Network
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.core.threads import in_order
from graft.images import loader

KEYS = ("labels", "image_size", "resize", "crops")


class Classifier:
    """The compiled network that `export` wrote, and how it wants its images.

    Parameters
    ----------
    network : path of the compiled network, models/classifier.tflite.
    description : path of its description, models/labels.json.

    Attributes
    ----------
    labels : the classes, in the order of the probabilities.
    names : the display name of each class, in the same order.

    Raises
    ------
    GraftError
        If a file is missing or broken.
    """

    def __init__(self, network: Path, description: Path):
        for path in (network, description):
            if not path.is_file():
                raise GraftError(
                    f"{path}: no such file; `dvc repro` writes it, `dvc checkout` brings back that of the last run"
                )
        self._description = read_json(description)
        for key in KEYS:
            if key not in self._description:
                raise GraftError(f"{description}: no key {key!r}; `dvc repro` writes the file again")
        self._network = Network(network)
        self.labels: list[str] = self._description["labels"]
        display_names = self._description.get("display_names", {})
        self.names = [display_names.get(label, label) for label in self.labels]

    def crop_probabilities(self, path: Path) -> np.ndarray:
        """Return the probability of each class for each crop of an image, float32 array (crops, classes).

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        size, resize, crops = (self._description[key] for key in ("image_size", "resize", "crops"))
        return np.stack([self._network(crop)[-1] for crop in loader.load_crops(path, size, resize, crops)])

    def probabilities(self, path: Path) -> np.ndarray:
        """Return the probability of each class, float32 array (classes,) that sums to 1: the mean over the crops.

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        return self.crop_probabilities(path).mean(axis=0)

    def all_probabilities(self, paths: Sequence[Path]) -> Iterator[np.ndarray]:
        """Yield the `probabilities` of each file, in order, computed in threads."""
        return in_order(self.probabilities, paths)
