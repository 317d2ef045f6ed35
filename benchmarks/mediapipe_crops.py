"""What MediaPipe Tasks answers, by what it is given: `python -m benchmarks.mediapipe_crops` after `dvc repro`.

It runs models/classifier.tflite in MediaPipe's ImageClassifier on the test part, on Graft's crops, on regions of
interest and on whole photographs, and compares the probabilities with Graft's own. docs/deploy.md cites the table.
"""

from collections.abc import Callable, Iterator

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from mediapipe.tasks.python.components.containers.rect import RectF
from mediapipe.tasks.python.vision.core.image_processing_options import ImageProcessingOptions

from graft.core import paths
from graft.core.files import read_json
from graft.images import loader
from graft.images.decoder import decode
from graft.images.table import read_image_table
from graft.serving.classifier import Classifier

WHOLE = RectF(left=0, top=0, right=1, bottom=1)


def regions(width: int, height: int, count: int) -> Iterator[RectF]:
    """Yield the region of each crop, as shares of the width and the height: the formula of docs/deploy.md."""
    shorter = min(width, height)
    length = max(width, height) / shorter
    reach, count = ((min(length, 2) - 1) / (length - 1), count) if length > 1 else (0, 1)
    for index in range(count):
        place = 0.5 + reach * ((index + 0.5) / count - 0.5)
        left, top = place * (width - shorter), place * (height - shorter)
        yield RectF(
            left=left / width, top=top / height, right=(left + shorter) / width, bottom=(top + shorter) / height
        )


def classifier_of(network: bytes, classes: int) -> Callable[[np.ndarray, RectF], np.ndarray]:
    """Return a function of an RGB image and a region of it that gives the probabilities by MediaPipe."""
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_buffer=network))
    task = vision.ImageClassifier.create_from_options(options)

    def probabilities(pixels: np.ndarray, region: RectF) -> np.ndarray:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        answer = task.classify(image, ImageProcessingOptions(region_of_interest=region))
        found = np.zeros(classes)
        for category in answer.classifications[0].categories:
            found[category.index] = category.score
        return found

    return probabilities


def main() -> None:
    """Print a row for each way to give MediaPipe an image."""
    description = read_json(paths.LABELS)
    size, count = description["image_size"], description["crops"]
    graft = Classifier(paths.CLASSIFIER, paths.LABELS)
    run = classifier_of(paths.CLASSIFIER.read_bytes(), len(graft.labels))
    files = read_image_table().part("test").files()
    expected = np.stack(list(graft.all_probabilities(files)))
    ways: dict[str, list[np.ndarray]] = {
        name: [] for name in ("Graft's crops", "a region for each crop", "the middle as region", "the photograph alone")
    }
    for file in files:
        # Too large a size to decode at a fraction of it, as no app does that.
        photo = decode(file.read_bytes(), 10_000, str(file))
        pixels = np.asarray(photo)
        crops = [run(crop, WHOLE) for crop in loader.load_crops(file, size, description["resize"], count)]
        several = [run(pixels, region) for region in regions(*photo.size, count)]
        middle = [run(pixels, region) for region in regions(*photo.size, 1)]
        for way, answers in zip(ways.values(), (crops, several, middle, [run(pixels, WHOLE)]), strict=True):
            way.append(np.mean(answers, axis=0))
    print(f"{len(files)} test images, {size} pixels, {count} crops: largest difference of a probability by image")
    for name, way in ways.items():
        largest = np.abs(np.stack(way) - expected).max(axis=1)
        same = (np.argmax(way, axis=1) == expected.argmax(axis=1)).mean()
        print(f"{name:24} same class {same:.3f}  mean {largest.mean():.1e}  largest {largest.max():.1e}")


if __name__ == "__main__":
    main()
