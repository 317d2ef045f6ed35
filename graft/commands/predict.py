"""graft predict: classify images with the exported model, or with a pretrained ImageNet network."""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from graft.core import paths
from graft.core.errors import GraftError, one_line
from graft.images import loader
from graft.images.decoder import UnreadableImageError
from graft.images.files import SPECIAL_FILE, not_read, walk
from graft.serving.classifier import Classifier

EXAMPLE = "graft predict photo.jpg holiday/ --top 3"
# For --imagenet in a folder without params.yaml.
BACKBONE, RESIZE = "EfficientNetLite0", "crop"


class ImageClassifier(Protocol):
    """What the command needs of a classifier; `classifier.Classifier` describes the members."""

    labels: list[str]
    names: list[str]

    def probabilities(self, path: Path) -> np.ndarray: ...  # noqa: D102 - as said above


def image_files(arguments: list[Path]) -> Iterator[Path]:
    """Yield each given file, and the image files below each given folder, sorted by path.

    Hidden files and folders are skipped, and links to folders are not followed. For each folder, a line on standard
    error counts the files that are not images, and another names what is not read: links, pipes, devices.

    Raises
    ------
    GraftError
        If a path does not exist, or is neither a file nor a folder, or a folder has no image.
    """
    for path in arguments:
        # Not by methods of Path: they raise an error at a name that is too long.
        if os.path.isdir(path):
            found = walk(path)
            if others := loader.other_files(found.files):
                print(f"{one_line(path)}: {loader.left_out(others)}", file=sys.stderr)
            if found.others:
                print(f"{one_line(path)}: {not_read(found.others, path)}", file=sys.stderr)
            images = [file for file in found.files if loader.is_image_name(file)]
            if not images:
                raise GraftError(f"{path}: no image in this folder; images end in {', '.join(loader.SUFFIXES)}")
            yield from images
        elif os.path.isfile(path):
            yield path
        elif os.path.exists(path):
            raise GraftError(f"{path}: {SPECIAL_FILE}; save the image as a file")
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
    parser.add_argument("paths", nargs="+", type=_path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--top", type=_count, default=5, metavar="K", help="classes listed per image (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line and image")
    parser.add_argument("--imagenet", action="store_true", help="use a pretrained network with its 1,000 classes")
    parser.add_argument("--backbone", metavar="NAME", help="with --imagenet: the network (default: params.yaml's)")
    parser.add_argument("--weights", metavar="FILE", help="with --imagenet: its weights (default: the published ones)")


def _path(text: str) -> Path:
    # Path makes the current folder of an empty text.
    if not text:
        raise ArgumentTypeError("an empty name; the current folder is .")
    return Path(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def classifier_of(arguments: Namespace) -> ImageClassifier:
    """Return the exported model, or the pretrained network with --imagenet."""
    if not arguments.imagenet:
        return Classifier(paths.CLASSIFIER, paths.LABELS)
    # Imported only here, so that the exported model starts fast.
    from graft.serving.imagenet import ImagenetClassifier
    from graft.settings import params

    backbone, resize = BACKBONE, RESIZE
    if paths.PARAMETERS.exists():
        parameters = params.load()
        backbone, resize = parameters.backbone, parameters.resize
    return ImagenetClassifier(arguments.backbone or backbone, arguments.weights or "imagenet", resize)


def main(arguments: Namespace) -> int:
    """Print the classes of each image; return the exit status, 1 if an image is unreadable."""
    if not arguments.imagenet and (arguments.backbone or arguments.weights):
        raise GraftError("--backbone and --weights need --imagenet; the exported model takes neither")
    # A list, so that a path that does not exist is reported before any image is classified.
    files = list(image_files(arguments.paths))
    classifier = classifier_of(arguments)
    unreadable = 0
    for path in files:
        try:
            classes = ranked(classifier.probabilities(path), classifier.labels, classifier.names, arguments.top)
        except UnreadableImageError as error:
            # The other images are still classified.
            print(f"error: {one_line(error)}", file=sys.stderr)
            unreadable += 1
            continue
        if arguments.json:
            print(json.dumps({"path": str(path), "classes": classes}))
        else:
            print(f"{one_line(path)}: " + ", ".join(f"{c['name']} {c['probability']:.1%}" for c in classes))
    return 1 if unreadable else 0
