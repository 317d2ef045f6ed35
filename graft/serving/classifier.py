"""The exported classifier: an image file in, a probability for each class out, without TensorFlow."""

import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

import numpy as np

from graft.activations.litert import Network
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.core.threads import in_order
from graft.images import loader
from graft.images.decoder import MAX_PIXELS
from graft.scores.conformal import prediction_sets
from graft.serving.metadata import packed_description

# Nearer to 0 and 1 the second output, float32, has no digits left.
LEAST = 1e-7


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_names_by_label(value: object) -> bool:
    return isinstance(value, dict) and _is_list_of_text(list(value.values()))


def _has_shares(value: object, *names: str) -> bool:
    """Return whether a value is a dictionary in which each of the names has a number from 0 to 1."""
    if not isinstance(value, dict):
        return False
    return all(type(value.get(name)) in (int, float) and 0 <= value[name] <= 1 for name in names)


def _is_from_1(value: object) -> bool:
    return type(value) is int and value > 0


def _is_second_output(value: object) -> bool:
    return isinstance(value, dict) and value.get("output") == 1 and _has_shares(value, "threshold", "accepted")


class _Description(TypedDict):
    labels: list[str]
    image_size: int
    resize: str
    crops: int
    max_pixels: int
    display_names: dict[str, str]
    prediction_set: dict[str, float] | None
    none_of_these: dict[str, float] | None


# What each key of the description must hold, in words and as a check.
KEYS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "labels": (
        "a list of names, each once",
        lambda value: (
            _is_list_of_text(value) and 0 < len(cast("list[str]", value)) == len(set(cast("list[str]", value)))
        ),
    ),
    "image_size": ("a whole number from 1", _is_from_1),
    "resize": (f"one of {', '.join(loader.RESIZERS)}", lambda value: value in tuple(loader.RESIZERS)),
    "crops": ("a whole number from 1 to 100", lambda value: type(value) is int and 1 <= value <= 100),
    "max_pixels": ("a whole number from 1", _is_from_1),
    "display_names": ("a name for each of some labels", _is_names_by_label),
    "prediction_set": (
        "coverage and least_probability, each from 0 to 1",
        lambda value: value is None or _has_shares(value, "coverage", "least_probability"),
    ),
    "none_of_these": (
        "output 1, with threshold and accepted from 0 to 1",
        lambda value: value is None or _is_second_output(value),
    ),
}
OPTIONAL: dict[str, object] = {
    "max_pixels": MAX_PIXELS,
    "display_names": {},
    "prediction_set": None,
    "none_of_these": None,
}


def _checked(description: object, path: Path) -> _Description:
    """Return a classifier's description; refuse one with a missing or wrong key."""
    if not isinstance(description, dict):
        raise GraftError(f"{path}: not a JSON object; `dvc repro` writes the file again")
    checked = OPTIONAL | description
    for key, (expected, is_right) in KEYS.items():
        if key not in checked:
            raise GraftError(f"{path}: no key {key!r}; `dvc repro` writes the file again")
        if not is_right(checked[key]):
            found = reprlib.repr(checked[key])
            raise GraftError(f"{path}: {key} is {found}, not {expected}; `dvc repro` writes the file again")
    return cast("_Description", checked)


def _of_one_export(description: _Description, network: Path, path: Path) -> _Description:
    """Return the description of `path`, compared with its copy in the network.

    Names for display and the largest image may differ: they belong to the reader.
    """
    packed = packed_description(network)
    if packed is None:
        return description
    if "none_of_these" in packed and packed["none_of_these"] is None:
        # A file of whole numbers, whose other output is left out.
        description = description | {"none_of_these": None}
    # The same keys are missing in both if a default takes their place.
    packed = OPTIONAL | packed
    for key in sorted((description.keys() | packed.keys()) - {"display_names", "max_pixels"}):
        mine, other = (reprlib.repr(one.get(key, "missing")) for one in (description, packed))
        if description.get(key) != packed.get(key):
            raise GraftError(
                f"{path}: {key} is {mine}, but {other} in {network}: the files are of two exports; "
                "copy both from one, or `dvc repro` writes both again"
            )
    return description


class Prediction(NamedTuple):
    """What the exported model says of an image.

    Attributes
    ----------
    probabilities : of each class, float32 array (classes,) that sums to 1.
    prediction_set : labels, the most probable first: the right one is among them with the probability
        `Classifier.coverage`. The most probable one always is. None: the model has no such sets.
    known_score : the higher, the more the image is like those of the classes. Below 0 it is refused. None: the model
        has no such score.
    is_unknown : whether it is refused, as an image of none of the classes. None: as above.
    """

    probabilities: np.ndarray
    prediction_set: list[str] | None
    known_score: float | None
    is_unknown: bool | None


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
    max_pixels : an image with more pixels in memory is refused; None is as for `decode`. It may be changed.
    coverage : how probably a prediction set contains the right class; None: the model has no such sets.

    Raises
    ------
    GraftError
        If a file is missing or broken, or the two are of different exports.
    """

    def __init__(self, network: Path, description: Path) -> None:
        for path in (network, description):
            if not path.is_file():
                raise GraftError(
                    f"{path}: no such file; `dvc repro` writes it, `dvc checkout` brings back that of the last run"
                )
        self._description = _of_one_export(_checked(read_json(description), description), network, description)
        self._network = Network(network)
        size = self._description["image_size"]
        if self._network.input_shape[:2] != (size, size):
            height, width = self._network.input_shape[:2]
            raise GraftError(
                f"{description}: image_size is {size}, but {network} takes {height} x {width} pixels; "
                "`dvc repro` writes both files again"
            )
        self._files = network, description
        self.labels = self._description["labels"]
        self.max_pixels: int | None = self._description["max_pixels"]
        display_names = self._description["display_names"]
        self.names = [display_names.get(label, label) for label in self.labels]
        sets = self._description["prediction_set"]
        self.coverage = sets["coverage"] if sets else None

    def crop_probabilities(self, path: Path) -> np.ndarray:
        """Return the probability of each class for each crop of an image, float32 array (crops, classes).

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        return np.stack([outputs[0] for outputs in self._outputs(path)])

    def _outputs(self, path: Path) -> list[list[np.ndarray]]:
        """Return the outputs of the network for each crop of an image."""
        wanted = self._description
        size, resize, count = wanted["image_size"], wanted["resize"], wanted["crops"]
        crops = loader.load_crops(path, size, resize, count, self.max_pixels)
        found = [self._network.all_outputs(crop) for crop in crops]
        network, description = self._files
        probabilities, *further = found[0]
        if probabilities.shape != (len(self.labels),):
            raise GraftError(
                f"{description}: it has {len(self.labels)} labels, but {network} gives {probabilities.size} "
                "probabilities; `dvc repro` writes both files again"
            )
        if wanted["none_of_these"] and (not further or further[0].size != 1):
            raise GraftError(
                f"{description}: it has none_of_these, but {network} has no such output; "
                "`dvc repro` writes both files again"
            )
        return found

    def predict(self, path: Path) -> Prediction:
        """Return all that the model says of an image.

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        outputs = self._outputs(path)
        probabilities = np.stack([of_crop[0] for of_crop in outputs]).mean(axis=0)
        chosen, score = None, None
        if sets := self._description["prediction_set"]:
            inside = prediction_sets(probabilities[np.newaxis], sets["least_probability"])[0]
            order = np.argsort(-probabilities, kind="stable")
            chosen = [self.labels[label] for label in order if inside[label]]
        if unknown := self._description["none_of_these"]:
            threshold = np.clip(unknown["threshold"], LEAST, 1 - LEAST)
            shares = np.clip([float(of_crop[1].item()) for of_crop in outputs], LEAST, 1 - LEAST)
            score = float(np.log((1 - shares) / shares).mean() - np.log((1 - threshold) / threshold))
        return Prediction(probabilities, chosen, score, None if score is None else score < 0)

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

    def all_predictions(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """Yield what `predict` returns for each file, in order, computed in threads."""
        return in_order(self.predict, paths)
