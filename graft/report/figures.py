"""Figures as PNG files, drawn from numbers that are already computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from graft.core.files import replacing
from graft.images import loader

MAX_IMAGES = 12
COLUMNS = 4
THUMBNAIL_PIXELS = 200
INCHES_PER_CELL = 0.6
# With more classes, names and numbers would be too small to read.
MAX_LABELLED_CLASSES = 30
INCHES_PER_VARIANT = 0.4
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
    """Draw a confusion matrix: counts as numbers, shares of each row as shades; the diagonal is the recall.

    Parameters
    ----------
    path : of the PNG file.
    matrix : int array (classes, classes), rows actual, columns predicted.
    names : of the classes.
    """
    side = 2 + INCHES_PER_CELL * min(len(names), MAX_LABELLED_CLASSES)
    figure = Figure((side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the row")
    axes.set(xlabel="predicted", ylabel="actual")
    if len(names) <= MAX_LABELLED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    _save(figure, path)


def misclassified(
    path: Path, paths: Sequence[Path], labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> None:
    """Draw the misclassified images whose prediction has the highest probability, each with class and prediction.

    Parameters
    ----------
    path : of the PNG file.
    paths : of the image files.
    labels : int array (images,), the class of each.
    probabilities : float array (images, classes).
    names : of the classes.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    drawn = wrong[np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")][:MAX_IMAGES]
    title = f"{len(wrong)} of {len(labels)} test images are misclassified"
    captions = _captions(labels[drawn], probabilities[drawn], names)
    _draw_images(path, title, [paths[index] for index in drawn], captions, ["black"] * len(drawn))


def predictions(
    path: Path, paths: Sequence[Path], labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> None:
    """Draw images, each with its class, its prediction and the probability; text of wrong predictions is red.

    The parameters are those of `misclassified`.
    """
    wrong = probabilities.argmax(axis=1) != labels
    title = "Some test images, drawn by their hash: class, prediction and its probability"
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
    rows = max(1, -(-len(paths) // COLUMNS))
    figure = Figure((2.4 * COLUMNS, 2.9 * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for axes in figure.subplots(rows, COLUMNS, squeeze=False).flat:
        axes.axis("off")
    for axes, image, caption, colour in zip(figure.axes, paths, captions, colours, strict=False):
        axes.imshow(loader.load(image, THUMBNAIL_PIXELS, "pad"))
        axes.set_title(caption, fontsize=9, parse_math=False, color=colour)
    _save(figure, path)
