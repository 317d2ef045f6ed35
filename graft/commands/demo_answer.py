"""What `graft demo` answers: classes, prediction set, the picture, and where the network looked."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from PIL import Image

from graft.commands.predict import exported_classifier
from graft.commands.predict_output import ranked, set_names
from graft.core import paths
from graft.core.files import read_json
from graft.images import loader
from graft.serving import class_activation

TOP = 5
# Pixels on the longer side: of the picture that is shown, and of the maps on it.
SHOWN, MAP = 960, 240
Box = tuple[float, float, float, float]


def crop_boxes(width: int, height: int, resize: str, count: int) -> list[Box]:
    """Return where the crops that `loader.crops` takes lie in an image: (left, upper, right, lower), in its pixels.

    Parameters
    ----------
    width, height : of the image.
    resize : squash, crop or pad, as in params.yaml.
    count : number of crops.
    """
    if resize == "squash":
        return [(0, 0, width, height)]
    if resize == "pad":
        side = max(width, height)
        return [_square(width, height, side, 0.5)]
    side, length = min(width, height), max(width, height) / min(width, height)
    if count == 1 or length == 1:
        # Nearly square images have `count` crops too, and are exactly square when they are made smaller.
        return [_square(width, height, side, 0.5)] * count
    reach = (min(length, loader.LONGEST) - 1) / (length - 1)
    return [_square(width, height, side, 0.5 + reach * ((place + 0.5) / count - 0.5)) for place in range(count)]


def _square(width: int, height: int, side: int, place: float) -> Box:
    left, upper = (width - side) * place, (height - side) * place
    return left, upper, left + side, upper + side


class Demo:
    """Answers for image files. Several threads may ask at once.

    Parameters
    ----------
    model : the folder with classifier.tflite and labels.json; None is that of the pipeline.

    Raises
    ------
    GraftError
        If a file is missing or broken, or they are of two exports.
    """

    def __init__(self, model: Path | None) -> None:
        self._classifier = exported_classifier(model)
        model = model or paths.CLASSIFIER.parent
        self._wanted = read_json(model / paths.LABELS.name)
        self._activation = class_activation.open_network(model / paths.CLASSIFIER.name)
        # Files of two exports are found now, and the first visitor does not wait.
        with NamedTemporaryFile(suffix=".png") as file:
            Image.new("RGB", (8, 8)).save(file.name)
            self.answer(Path(file.name))

    @property
    def description(self) -> dict[str, Any]:
        """The names of the classes, the coverage of the prediction sets or None, and whether there are maps."""
        return {
            "names": self._classifier.names,
            "coverage": self._classifier.coverage,
            "maps": self._activation is not None,
        }

    def answer(self, path: Path) -> dict[str, Any]:
        """Return what the page shows of an image.

        Returns
        -------
        classes : the `TOP` most probable, as `ranked` gives them, each with `in_set`, and with `map`: a grey PNG as a
            data URL, white where the image speaks for the class, black where it does not or where no crop lies; None
            for a network without maps.
        prediction_set : display names, or None.
        none_of_these : true, false or None.
        picture : JPEG as a data URL.

        Raises
        ------
        UnreadableImageError
            If the file is not a readable image.
        """
        prediction = self._classifier.predict(path)
        labels, names = self._classifier.labels, self._classifier.names
        classes = ranked(prediction.probabilities, labels, names, TOP)
        picture = self._picture(path)
        numbers = [labels.index(one["label"]) for one in classes]
        maps = self._maps(path, picture.size, numbers)
        chosen = prediction.prediction_set or []
        return {
            "classes": [
                one | {"in_set": one["label"] in chosen, "map": shown} for one, shown in zip(classes, maps, strict=True)
            ],
            "prediction_set": None if prediction.prediction_set is None else set_names(prediction, labels, names),
            "none_of_these": None if prediction.is_unknown is None else bool(prediction.is_unknown),
            "picture": _data_url(picture, "jpeg", quality=88),
        }

    def _picture(self, path: Path) -> Image.Image:
        size, resize = self._wanted["image_size"], self._wanted["resize"]
        least = size if resize == "crop_or_pad" else SHOWN // 2
        picture = loader.read(path, least, resize, self._classifier.max_pixels)
        if resize == "crop_or_pad":
            # The network sees no more of it.
            return loader.resized(picture, size, resize)
        picture.thumbnail((SHOWN, SHOWN))
        return picture

    def _maps(self, path: Path, size: tuple[int, int], numbers: list[int]) -> Sequence[str | None]:
        """Return the map of each of the classes over the picture, as data URLs: the mean where crops overlap."""
        if self._activation is None:
            return [None] * len(numbers)
        wanted = self._wanted
        crops = loader.load_crops(path, wanted["image_size"], wanted["resize"], wanted["crops"])
        scale = min(1.0, MAP / max(size))
        width, height = (max(1, round(side * scale)) for side in size)
        resize = "squash" if wanted["resize"] == "crop_or_pad" else wanted["resize"]
        # The maps of all classes, and at the end the weight of each pixel.
        total = np.zeros((len(numbers) + 1, height, width))
        boxes = crop_boxes(width, height, resize, len(crops))
        for box, maps in zip(boxes, self._activation.maps_of_crops(crops, numbers), strict=True):
            left, upper = round(box[0]), round(box[1])
            right, lower = max(left + 1, round(box[2])), max(upper + 1, round(box[3]))
            # Less towards the edges, so that a crop shows no border in the middle of another one.
            weight = _pyramid(right - left, lower - upper)
            for number, layer in enumerate([*maps, np.ones_like(maps[0])]):
                placed = Image.fromarray(_resized(layer, weight.shape) * weight)
                total[number] += np.asarray(placed.crop((-left, -upper, width - left, height - upper)))
        shares = total[:-1] / np.where(total[-1] > 0, total[-1], 1)
        # The square root: else all but the highest places would be too dark to see.
        levels = (255 * np.sqrt(shares)).round().clip(0, 255).astype(np.uint8)
        return [_data_url(Image.fromarray(level), "png") for level in levels]


def _pyramid(width: int, height: int) -> np.ndarray:
    """Return float32 array (height, width): 1 in the middle, falling to nearly 0 at the edges."""
    across, down = (1 - abs(np.arange(side) + 0.5 - side / 2) / (side / 2 + 0.5) for side in (width, height))
    return np.minimum(across, down[:, np.newaxis]).astype(np.float32)


def _resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _data_url(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
