"""graft predict: classify images with the exported model, or with a pretrained ImageNet network."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from graft.commands import image_arguments, predict_output
from graft.commands.predict_output import ImageClassifier
from graft.commands.prediction_figure import MAX_IMAGES, PredictionFigure
from graft.commands.sort_copies import SortedCopies
from graft.core import paths
from graft.core.errors import GraftError, one_line
from graft.core.threads import in_order
from graft.images.decoder import MAX_PIXELS, UnreadableImageError
from graft.serving.classifier import Classifier, Prediction

EXAMPLE = "graft predict photo.jpg holiday/ --top 3"
# For --imagenet in a folder without params.yaml.
BACKBONE, RESIZE = "EfficientNetLite0", "crop"
UNREADABLE = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft predict`."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=_path,
        metavar="PATH",
        help="a file, a folder, a quoted pattern such as 'photos/**/*.jpg', or - for a path a line of standard input",
    )
    parser.add_argument("--top", type=_count, default=5, metavar="K", help="classes listed per image (default 5)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        dest="form",
        action="store_const",
        const="json",
        default="text",
        help="print one JSON object per line and image",
    )
    form.add_argument(
        "--csv", dest="form", action="store_const", const="csv", help="print CSV: a header, a row for each class listed"
    )
    parser.add_argument("--figure", type=_place, metavar="FILE.png", help=f"also draw the first {MAX_IMAGES} images")
    parser.add_argument(
        "--sort", type=_place, metavar="DIR", help="also copy each image into DIR/CLASS, or DIR/unsure; move nothing"
    )
    parser.add_argument(
        "--model", type=_place, metavar="DIR", help="the folder with classifier.tflite and labels.json (default models)"
    )
    parser.add_argument("--imagenet", action="store_true", help="use a pretrained network with its 1,000 classes")
    parser.add_argument("--backbone", metavar="NAME", help="with --imagenet: the network (default: params.yaml's)")
    parser.add_argument("--weights", metavar="FILE", help="with --imagenet: its weights (default: the published ones)")


def _path(text: str) -> str:
    # Path would make the current folder of it.
    if not text:
        raise ArgumentTypeError("an empty name; the current folder is .")
    return text


def _place(text: str) -> Path:
    return Path(_path(text))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def exported_classifier(folder: Path | None) -> Classifier:
    """Return the exported model in a folder; None is that of the pipeline.

    Raises
    ------
    GraftError
        If a file is missing or broken, or they are of two exports.
    """
    if folder is None:
        return Classifier(paths.CLASSIFIER, paths.LABELS)
    files = [folder / path.name for path in (paths.CLASSIFIER, paths.LABELS)]
    for file in files:
        if not file.is_file():
            raise GraftError(f"{file}: no such file; --model takes a folder with {files[0].name} and {files[1].name}")
    return Classifier(*files)


def classifier_of(arguments: Namespace) -> ImageClassifier:
    """Return the exported model, or the pretrained network with --imagenet."""
    if not arguments.imagenet:
        return exported_classifier(arguments.model)
    # Imported only here, so that the exported model starts fast.
    from graft.serving.imagenet import ImagenetClassifier
    from graft.settings import params

    backbone, resize, max_pixels = BACKBONE, RESIZE, MAX_PIXELS
    if paths.PARAMETERS.exists():
        parameters = params.load()
        backbone, resize, max_pixels = parameters.backbone, parameters.resize, parameters.limits.pixels
    return ImagenetClassifier(arguments.backbone or backbone, arguments.weights or "imagenet", resize, max_pixels)


def _check(arguments: Namespace) -> None:
    """Refuse options that do not go together, and places that cannot be written to, before anything is computed."""
    if arguments.imagenet and arguments.model:
        raise GraftError("--model and --imagenet name two models; leave one out")
    if not arguments.imagenet and (arguments.backbone or arguments.weights):
        raise GraftError("--backbone and --weights need --imagenet; the exported model takes neither")
    target = arguments.sort
    if target and target.exists() and not target.is_dir():
        raise GraftError(f"--sort {target}: a file; give a folder, which need not exist")
    for path in (each for text in arguments.paths for each in image_arguments.matches(text)) if target else ():
        # Not by a method of Path, which raises an error at a name that is too long.
        if os.path.isdir(path) and target.resolve().is_relative_to(Path(path).resolve()):
            raise GraftError(f"--sort {target}: inside of {path}, whose images are read; give a folder outside of it")


def predictions(
    classifier: ImageClassifier, files: list[Path] | Iterator[Path | GraftError]
) -> Generator[tuple[Path, Prediction] | GraftError]:
    """Yield each file with what the classifier finds on it, in order, or the error of a file that cannot be read."""

    def predict(file: Path | GraftError) -> tuple[Path, Prediction] | GraftError:
        if isinstance(file, GraftError):
            return file
        try:
            return file, classifier.predict(file)
        except UnreadableImageError as error:
            return error

    # One image is classified in this thread: another one would load the network again.
    if isinstance(files, list) and len(files) == 1:
        yield predict(files[0])
    else:
        yield from in_order(predict, files)


def main(arguments: Namespace) -> int:
    """Print the classes of each image; return the exit status, 2 if an image is unreadable."""
    _check(arguments)
    files = image_arguments.all_files(arguments.paths)
    classifier = classifier_of(arguments)
    extras: list[SortedCopies | PredictionFigure] = []
    if arguments.sort:
        extras.append(SortedCopies(arguments.sort, classifier.labels))
    if arguments.figure:
        extras.append(PredictionFigure(arguments.figure, classifier))
    show = predict_output.FORMS[arguments.form](classifier, arguments.top)
    unreadable = 0
    # Closed here, so that the threads end with a reader that stops early.
    with closing(predictions(classifier, files)) as found:
        for one in found:
            if isinstance(one, GraftError):
                # The other images are still classified.
                print(f"error: {one_line(one)}", file=sys.stderr)
                unreadable += 1
                continue
            for take in (show, *(extra.add for extra in extras)):
                take(*one)
    for extra in extras:
        print(one_line(extra.summary()), file=sys.stderr)
    return UNREADABLE if unreadable else 0
