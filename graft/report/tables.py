"""The test images' predictions and the confusion matrix, as text files of a size that git can keep."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from graft.core.files import replacing, write_rows, write_text
from graft.images.table import ImageTable

# With more classes than these, the less probable ones are left out: the file grows with the images alone.
RANKS = ("predicted", "second", "third", "fourth", "fifth")


def write_predictions(
    path: Path, images: ImageTable, probabilities: Iterable[np.ndarray], rows_per_file: int | None = None
) -> None:
    """Write a CSV file with a row per image: its class, and the five most probable classes.

    With more than `rows_per_file` images it is a folder of that name with the files 00000.csv, 00001.csv and so on.

    The columns are path, actual, predicted, p_actual, p_predicted, second, p_second, and so on up to fifth, p_fifth,
    or to as many as there are classes. Classes are names; p_... is the probability of a class, with six digits after
    the point. Of equally probable classes, the first is listed first.

    Parameters
    ----------
    path : of the CSV file.
    images : the images, in the order of the probabilities.
    probabilities : float array (images, classes), rows sum to 1; or an iterable of these rows, which are not kept.
    rows_per_file : None: all rows are in one file.
    """
    ranks = RANKS[: len(images.classes)]
    columns = ["path", "actual", "predicted", "p_actual", "p_predicted"]
    columns += [column for rank in ranks[1:] for column in (rank, f"p_{rank}")]
    rows = _prediction_rows(images, probabilities, ranks)
    if rows_per_file is None or len(images) <= rows_per_file:
        write_rows(path, columns, rows)
        return
    with replacing(path) as folder:
        folder.unlink()
        folder.mkdir()
        for number in range(-(-len(images) // rows_per_file)):
            write_rows(folder / f"{number:05d}.csv", columns, islice(rows, rows_per_file))
        # Only now does it show whether there are as many probabilities as images.
        for _ in rows:
            pass


def _prediction_rows(
    images: ImageTable, probabilities: Iterable[np.ndarray], ranks: Sequence[str]
) -> Iterator[dict[str, str]]:
    for path, label, row in zip(images.paths, images.labels, probabilities, strict=True):
        most_probable = np.argsort(-row, kind="stable")[: len(ranks)]
        chosen = {"actual": label, **dict(zip(ranks, most_probable, strict=True))}
        names = {name: images.classes[index] for name, index in chosen.items()}
        yield {"path": path, **names, **{f"p_{name}": f"{row[index]:.6f}" for name, index in chosen.items()}}


def write_confusion_matrix(path: Path, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Write a JSON file with the keys labels and matrix, a line of text per row of the matrix.

    Parameters
    ----------
    path : of the JSON file.
    matrix : int array (classes, classes), rows actual, columns predicted.
    classes : their names, in the same order.
    """
    rows = ",\n    ".join(json.dumps(row) for row in matrix.tolist())
    labels = json.dumps(list(classes), ensure_ascii=False)
    write_text(path, f'{{\n  "labels": {labels},\n  "matrix": [\n    {rows}\n  ]\n}}\n')
