"""Figures as PNG files, drawn from numbers that are already computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from graft.core.errors import one_line
from graft.core.files import replacing
from graft.images import loader
from graft.report.charts import shades

if TYPE_CHECKING:
    import pandas as pd

MAX_IMAGES = 12
COLUMNS = 4
THUMBNAIL_PIXELS = 200
INCHES_PER_CELL = 0.6
# Inches: room for the title.
LEAST_WIDTH = 5.5
LONGEST_NAME = 36
LEARNING_LABELS = ("cross-entropy (nats)", "share of the images that are right")
# With more classes, names and numbers would be too small to read.
MAX_LABELLED_CLASSES = 30
INCHES_PER_VARIANT = 0.4
# Right and wrong predictions; they differ for colour-blind readers too.
RIGHT, WRONG = "#1f6fb2", "#d9640b"
# The first two colours of matplotlib differ for colour-blind readers too.
STYLES: dict[str, dict[str, Any]] = {
    "validation": {"marker": "o", "color": "C0"},
    "test": {"marker": "D", "color": "C1", "mfc": "white"},
}


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        # Without this entry, the bytes would change with the version number of matplotlib.
        figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None})


def confusion(path: Path, matrix: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix: counts as numbers, shares of each row as shades; right ones blue, wrong ones orange.

    Parameters
    ----------
    path : of the PNG file.
    matrix : int array (classes, classes), rows actual, columns predicted.
    names : of the classes.
    """
    side = 2 + INCHES_PER_CELL * min(len(names), MAX_LABELLED_CLASSES)
    figure = Figure((max(side, LEAST_WIDTH), side + 0.5), layout="constrained")
    axes = figure.subplots()
    right, images = int(matrix.trace()), int(matrix.sum())
    figure.suptitle(
        f"{right} of {images} test images are right (blue), {images - right} wrong (orange)\n"
        "number of images by class; the darker, the larger the share of the row",
        fontsize=10,
    )
    dark = shades(matrix)
    hues = np.where(np.eye(len(matrix), dtype=bool)[..., np.newaxis], to_rgb(RIGHT), to_rgb(WRONG))
    axes.imshow(1 - dark[..., np.newaxis] * (1 - hues))
    axes.set(xlabel="predicted class", ylabel="actual class")
    if len(names) <= MAX_LABELLED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        for row, column in np.argwhere(matrix):
            colour = "white" if dark[row, column] > 0.85 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour)
    _save(figure, path)


def misclassified(
    path: Path,
    paths: Sequence[Path],
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    counts: tuple[int, int] | None = None,
) -> None:
    """Draw the misclassified images whose prediction has the highest probability, each with class and prediction.

    Parameters
    ----------
    path : of the PNG file.
    paths : of the image files.
    labels : int array (images,), the class of each.
    probabilities : float array (images, classes).
    names : of the classes.
    counts : how many images are misclassified, and how many there are; None: these are all images.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    drawn = wrong[np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")][:MAX_IMAGES]
    mistakes, images = counts or (len(wrong), len(labels))
    title = f"{mistakes} of {images} test images are misclassified"
    if len(drawn):
        more = "the surest" if mistakes > len(drawn) else "the surest first"
        title += f"\n{more}: class, wrong prediction and its probability"
    captions = _captions(labels[drawn], probabilities[drawn], names)
    _draw_images(path, title, [paths[index] for index in drawn], captions, ["black"] * len(drawn))


def learning_curves(path: Path, history: Mapping[str, Sequence[float]], head: Mapping[str, float]) -> None:
    """Draw loss and accuracy by epoch of fine-tuning, and those of the head alone on the validation part as lines.

    Parameters
    ----------
    path : of the PNG file.
    history : the columns epoch, loss, val_loss, accuracy and val_accuracy of metrics/history.csv; at least a row.
    head : accuracy and loss of the head on the validation part.
    """
    figure = Figure((9, 3.8), layout="constrained")
    figure.suptitle(
        "Fine-tuning by epoch; training images are augmented, so their loss can be the higher one", fontsize=10
    )
    for axes, name, label in zip(figure.subplots(1, 2), ("loss", "accuracy"), LEARNING_LABELS, strict=True):
        axes.plot(history["epoch"], history[f"val_{name}"], marker="o", ms=3, color=RIGHT, label="validation")
        axes.plot(history["epoch"], history[name], marker="o", ms=3, color="0.6", label="training")
        axes.axhline(head[name], color=WRONG, ls="--", label="validation, head alone")
        axes.set(xlabel="epoch", title=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, path)


def predictions(
    path: Path, paths: Sequence[Path], labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> None:
    """Draw images, each with its class, its prediction and the probability; text of wrong predictions is red.

    The parameters are those of `misclassified`.
    """
    wrong = probabilities.argmax(axis=1) != labels
    title = "Some test images: class, prediction and its probability; wrong ones in red"
    colours = np.where(wrong, "red", "black").tolist()
    _draw_images(path, title, paths, _captions(labels, probabilities, names), colours)


def captioned(path: Path, title: str, paths: Sequence[Path], captions: Sequence[str]) -> None:
    """Draw images, each with its caption.

    Parameters
    ----------
    path : of the PNG file.
    title : of the figure.
    paths : of the image files.
    captions : of each image.
    """
    _draw_images(path, title, paths, captions, ["black"] * len(paths))


def suspects(
    path: Path,
    title: str,
    paths: Sequence[Path],
    labels: np.ndarray,
    likelier: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
) -> None:
    """Draw images whose labels may be wrong, each with its label and the likelier class, and both probabilities.

    Parameters
    ----------
    path : of the PNG file.
    title : of the figure.
    paths : of the image files, at most `MAX_IMAGES`.
    labels, likelier : int arrays (images,), the given class and the likelier one.
    probabilities : float array (images, classes).
    names : of the classes.
    """
    captions = [
        f"labelled {names[label]}, {row[label]:.0%}\nrather {names[other]}, {row[other]:.0%}"
        for label, other, row in zip(labels, likelier, probabilities, strict=True)
    ]
    captioned(path, title, paths, captions)


def study(path: Path, table: pd.DataFrame, title: str) -> None:
    """Draw the mean accuracies of a study's variants with their standard deviations, the best variant on top.

    Parameters
    ----------
    path : of the PNG file.
    table : what `commands.study.ranked` returns.
    title : of the figure.
    """
    figure = Figure((8, 1.5 + INCHES_PER_VARIANT * len(table)), layout="constrained")
    axes = figure.subplots()
    for offset, (part, style) in zip((-0.12, 0.12), STYLES.items(), strict=True):
        places = [row + offset for row in range(len(table))]
        spread = table[f"{part}_spread"].fillna(0)
        axes.errorbar(table[f"{part}_mean"], places, xerr=spread, ls="none", capsize=3, label=part, **style)
    axes.set_yticks(range(len(table)), table["variant"], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy: mean, and standard deviation over the runs")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    _save(figure, path)


def _captions(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> list[str]:
    return [
        f"{names[label]}\nas {names[shares.argmax()]}, {shares.max():.0%}"
        for label, shares in zip(labels, probabilities, strict=True)
    ]


def _draw_images(
    path: Path, title: str, paths: Sequence[Path], captions: Sequence[str], colours: Sequence[str]
) -> None:
    columns = min(COLUMNS, max(1, len(paths)))
    rows = -(-len(paths) // columns)
    figure = Figure((max(2.4 * columns, LEAST_WIDTH), 3.1 * rows + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=11)
    if paths:
        for axes in figure.subplots(rows, columns, squeeze=False).flat:
            axes.axis("off")
    for axes, image, caption, colour in zip(figure.axes, paths, captions, colours, strict=False):
        axes.imshow(loader.load(image, THUMBNAIL_PIXELS, "pad"))
        axes.set_title(caption, fontsize=9, parse_math=False, color=colour)
        axes.text(
            0.5,
            -0.02,
            _file_name(image),
            ha="center",
            va="top",
            fontsize=7,
            color="0.4",
            parse_math=False,
            transform=axes.transAxes,
        )
    _save(figure, path)


def _file_name(path: Path) -> str:
    """Return the folder and name of an image file, shortened to what fits under a picture."""
    name = one_line("/".join(path.parts[-2:]))
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"
