"""Classify images with the exported model: python -m stages.predict FILE_OR_FOLDER... [--top 5] [--json]

With --imagenet, by a pretrained network as it comes: [--backbone NAME] [--weights FILE].
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from stages.parts import images
from stages.parts.classifier import Classifier
from stages.parts.errors import GraftError, run

NETWORK = Path("models/classifier.tflite")
DESCRIPTION = Path("models/labels.json")
# Where there is no params.yaml.
BACKBONE, RESIZE = "EfficientNetLite0", "crop"


class NamesImages(Protocol):
    """What classifies image files, see `classifier.Classifier`."""

    labels: list[str]
    names: list[str]

    def probabilities(self, path: Path) -> np.ndarray: ...


def image_files(arguments: list[Path]) -> Iterator[Path]:
    """Yield the files named, and the image files below the folders named, sorted.

    Raises
    ------
    GraftError
        If a path does not exist, or a folder holds no image.
    """
    for path in arguments:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            if others := images.other_files(files):
                print(f"{path}: {images.left_out(others)}", file=sys.stderr)
            found = [file for file in files if images.is_image_name(file)]
            if not found:
                raise GraftError(f"{path}: no image in this folder; known are {', '.join(images.SUFFIXES)}")
            yield from found
        elif path.exists():
            yield path
        else:
            raise GraftError(f"{path}: no such file or folder")


def ranked(probabilities: np.ndarray, labels: Sequence[str], names: Sequence[str], top: int) -> list[dict[str, object]]:
    """Return the `top` most probable classes, the most probable first, as {"label", "name", "probability"}."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {"label": labels[index], "name": names[index], "probability": round(float(probabilities[index]), 6)}
        for index in order
    ]


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description="Classify images.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes listed per image (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line and image")
    parser.add_argument("--imagenet", action="store_true", help="name ImageNet's classes by a pretrained network")
    parser.add_argument("--backbone", metavar="NAME", help="which, with --imagenet (default: that of params.yaml)")
    parser.add_argument("--weights", metavar="FILE", help="its weights with top, with --imagenet (default: published)")
    arguments = parser.parse_args()
    if arguments.top < 1:
        parser.error(f"--top: {arguments.top} is too few, give 1 or more")
    if not arguments.imagenet and (arguments.backbone or arguments.weights):
        parser.error("--backbone and --weights are for --imagenet; the exported model is what it is")
    return arguments


def classifier_of(arguments: argparse.Namespace) -> NamesImages:
    """Return the exported model, or with --imagenet a pretrained network."""
    if not arguments.imagenet:
        return Classifier(NETWORK, DESCRIPTION)
    # Here alone, because the exported model must start fast.
    from stages.parts import params
    from stages.parts.imagenet import ImagenetClassifier

    backbone, resize = BACKBONE, RESIZE
    if params.PATH.exists():
        parameters = params.load()
        backbone, resize = parameters.backbone, parameters.resize
    return ImagenetClassifier(arguments.backbone or backbone, arguments.weights or "imagenet", resize)


def main() -> int:
    try:
        return print_predictions(parsed_arguments())
    except BrokenPipeError:
        # The reader, `head` say, has seen enough; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def print_predictions(arguments: argparse.Namespace) -> int:
    """Print the classes of each image; return the exit status, 1 if an image was unreadable."""
    # A path that does not exist is found before anything is classified.
    paths = list(image_files(arguments.paths))
    classifier = classifier_of(arguments)
    unreadable = 0
    for path in paths:
        try:
            classes = ranked(classifier.probabilities(path), classifier.labels, classifier.names, arguments.top)
        except images.UnreadableImageError as error:
            # One bad file must not keep the others from being classified.
            print(f"error: {error}", file=sys.stderr)
            unreadable += 1
            continue
        if arguments.json:
            print(json.dumps({"path": str(path), "classes": classes}))
        else:
            print(f"{path}: " + ", ".join(f"{c['name']} {c['probability']:.1%}" for c in classes))
    return 1 if unreadable else 0


if __name__ == "__main__":
    run(main)
