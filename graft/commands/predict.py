"""graft predict: classify images with the exported model, or with a pretrained network as it comes."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from graft.core import paths
from graft.core.errors import GraftError
from graft.images import loader
from graft.serving.classifier import Classifier

EXAMPLE = "graft predict photo.jpg holiday/ --top 3"
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
            if others := loader.other_files(files):
                print(f"{path}: {loader.left_out(others)}", file=sys.stderr)
            found = [file for file in files if loader.is_image_name(file)]
            if not found:
                raise GraftError(f"{path}: no image in this folder; known are {', '.join(loader.SUFFIXES)}")
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


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft predict`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--top", type=_count, default=5, metavar="K", help="classes listed per image (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line and image")
    parser.add_argument("--imagenet", action="store_true", help="name ImageNet's classes by a pretrained network")
    parser.add_argument("--backbone", metavar="NAME", help="which, with --imagenet (default: that of params.yaml)")
    parser.add_argument("--weights", metavar="FILE", help="its weights with top, with --imagenet (default: published)")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is too few, give 1 or more")
    return int(text)


def classifier_of(arguments: Namespace) -> NamesImages:
    """Return the exported model, or with --imagenet a pretrained network."""
    if not arguments.imagenet:
        return Classifier(paths.CLASSIFIER, paths.LABELS)
    # Here alone, because the exported model must start fast.
    from graft.serving.imagenet import ImagenetClassifier
    from graft.settings import params

    backbone, resize = BACKBONE, RESIZE
    if paths.PARAMETERS.exists():
        parameters = params.load()
        backbone, resize = parameters.backbone, parameters.resize
    return ImagenetClassifier(arguments.backbone or backbone, arguments.weights or "imagenet", resize)


def main(arguments: Namespace) -> int:
    """Print the classes of each image; return the exit status, 1 if an image was unreadable."""
    if not arguments.imagenet and (arguments.backbone or arguments.weights):
        raise GraftError("--backbone and --weights are for --imagenet; the exported model is what it is")
    # A path that does not exist is found before anything is classified.
    files = list(image_files(arguments.paths))
    classifier = classifier_of(arguments)
    unreadable = 0
    for path in files:
        try:
            classes = ranked(classifier.probabilities(path), classifier.labels, classifier.names, arguments.top)
        except loader.UnreadableImageError as error:
            # One bad file must not keep the others from being classified.
            print(f"error: {error}", file=sys.stderr)
            unreadable += 1
            continue
        if arguments.json:
            print(json.dumps({"path": str(path), "classes": classes}))
        else:
            print(f"{path}: " + ", ".join(f"{c['name']} {c['probability']:.1%}" for c in classes))
    return 1 if unreadable else 0
