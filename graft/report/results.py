"""What the stages have written of the last run, read for the page: the judgement itself, and the rest where it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, table_bytes

TEXT_COLUMNS = ("path", "actual", "predicted", "second", "third", "fourth", "fifth")
RANKS = TEXT_COLUMNS[2:]


@dataclass(frozen=True)
class Results:
    """The judgement on the test images.

    Attributes
    ----------
    accuracy : metrics/accuracy.json.
    matrix : int array (classes, classes), rows actual, columns predicted.
    labels : the classes, in the order of the matrix.
    names : the display name of each class.
    predictions : metrics/predictions.csv, classes as text.
    """

    accuracy: dict[str, Any]
    matrix: np.ndarray
    labels: list[str]
    names: list[str]
    predictions: pd.DataFrame

    @cached_property
    def number_of(self) -> dict[str, int]:
        """The place of each class in the order of the matrix."""
        return {label: number for number, label in enumerate(self.labels)}

    @property
    def actual(self) -> np.ndarray:
        """The class of each test image, int array (images,)."""
        return self.predictions["actual"].map(self.number_of).to_numpy()

    @property
    def predicted(self) -> np.ndarray:
        """The predicted class of each test image, int array (images,)."""
        return self.predictions["predicted"].map(self.number_of).to_numpy()

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class of each test image, float array (images,)."""
        return self.predictions["p_predicted"].to_numpy(float)

    @property
    def right(self) -> np.ndarray:
        """Whether each test image is right, bool array (images,)."""
        return self.actual == self.predicted

    def name(self, label: str) -> str:
        """Return the display name of a class; a label that is no class stays as it is."""
        return self.names[self.number_of[label]] if label in self.number_of else label


def read_results() -> Results:
    """Return the judgement of the last run.

    Raises
    ------
    GraftError
        If a file is missing or broken, or the files are not of one run.
    """
    accuracy, confusion = read_json(paths.ACCURACY), read_json(paths.CONFUSION_MATRIX)
    try:
        labels, matrix = list(confusion["labels"]), np.array(confusion["matrix"], int)
        right, images = round(accuracy["accuracy"] * accuracy["images"]), int(accuracy["images"])
        for name in ("accuracy_low", "accuracy_high", "expected_calibration_error"):
            float(accuracy[name])
    except (KeyError, TypeError, ValueError) as error:
        raise GraftError(
            f"{paths.ACCURACY}, {paths.CONFUSION_MATRIX}: not as `evaluate` writes it; run `dvc repro`"
        ) from error
    predictions = read_table(paths.PREDICTIONS, ("path", "actual", "predicted", "p_predicted"))
    if predictions is None:
        raise GraftError(f"{paths.PREDICTIONS}: no such file; `dvc repro` writes it")
    of_one_run = (len(predictions), images, right) == (matrix.sum(), matrix.sum(), matrix.trace()) and set(
        predictions["actual"]
    ) | set(predictions["predicted"]) <= set(labels)
    if not of_one_run:
        raise GraftError(f"{paths.PREDICTIONS}: not of the same run as {paths.CONFUSION_MATRIX}; run `dvc repro`")
    try:
        shown = (read_optional(paths.LABELS) or {}).get("display_names") or {}
        names = [str(shown.get(label, label)) for label in labels]
    except AttributeError as error:
        raise GraftError(f"{paths.LABELS}: not as `export` writes it; run `dvc repro`") from error
    return Results(accuracy, matrix, labels, names, predictions)


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame | None:
    """Return a CSV file, names of images and classes as text; None if it is missing or empty.

    Parameters
    ----------
    path : of the file.
    columns : that it must have; it may have more.

    Raises
    ------
    GraftError
        If it is not CSV, or lacks a column.
    """
    text = dict.fromkeys((*TEXT_COLUMNS, "label", "likelier", "finding", "other", "value", "split"), str)
    try:
        # Without the defaults for missing values: a class may have the name "NA".
        source = BytesIO(table_bytes(path)) if path.is_dir() else path
        table = pd.read_csv(source, dtype=text, keep_default_na=False)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return None
    except ValueError as error:
        raise GraftError(f"{path}: not a CSV file ({' '.join(str(error).split())}); run `dvc repro`") from error
    if missing := [column for column in columns if column not in table]:
        raise GraftError(f"{path}: no column {missing[0]}; run `dvc repro`")
    return table


def read_optional(path: Path) -> Any | None:
    """Return the content of a JSON file, or None if it is missing."""
    return read_json(path) if path.is_file() else None
