"""Two classifiers on the same images: the images are paired by path."""

import io
from typing import NamedTuple

import pandas as pd

from graft.commands import revisions
from graft.core import paths
from graft.core.errors import GraftError
from graft.scores.intervals import mcnemar

COLUMNS = ("path", "actual", "predicted")
COMMIT_FIRST = (
    "commit your results first (`git add . && git commit -m results`), then compare later ones with that commit"
)
EXAMPLES = 3


class Comparison(NamedTuple):
    """What two classifiers, this one and another, do on the same images.

    Attributes
    ----------
    images : how many there are.
    accuracy, other_accuracy : from 0 to 1.
    balanced_accuracy, other_balanced_accuracy : mean recall of the classes that occur, from 0 to 1.
    only_this_right, only_other_right : how many images only one of the two has right.
    p_value : of McNemar's test, exact and two-sided.
    """

    images: int
    accuracy: float
    other_accuracy: float
    balanced_accuracy: float
    other_balanced_accuracy: float
    only_this_right: int
    only_other_right: int
    p_value: float


def predictions_table(content: bytes, source: str) -> pd.DataFrame:
    """Return a table of predictions with the columns of the CSV file; path, actual and predicted are text.

    Parameters
    ----------
    content : of a file such as metrics/predictions.csv.
    source : the name of the file in messages.

    Raises
    ------
    GraftError
        If it is not CSV, lacks one of the three columns, has no row, or has a path twice.
    """
    try:
        # Without the defaults for missing values: a class may have the name "NA".
        table = pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(COLUMNS, str), keep_default_na=False)
    except ValueError as error:
        raise GraftError(f"{source}: not a CSV file ({' '.join(str(error).split())})") from error
    for column in COLUMNS:
        if column not in table:
            raise GraftError(f"{source}: no column {column}; path, actual and predicted are needed")
    if table.empty:
        raise GraftError(f"{source}: no image in it")
    repeated = table["path"][table["path"].duplicated()]
    if len(repeated):
        raise GraftError(f"{source}: the path {repeated.iloc[0]} is in it twice")
    return table


def compared_with(table: pd.DataFrame, revision: str) -> tuple[Comparison, pd.DataFrame]:
    """Return the comparison with a revision's metrics/predictions.csv, and that table.

    Parameters
    ----------
    table : of the results here, with the columns path, actual and predicted; each path once.
    revision : a commit, branch, tag or experiment.

    Raises
    ------
    GraftError
        If it has no such file, a broken one, or other images or classes.
    """
    source = f"{paths.PREDICTIONS} at {revision}"
    try:
        content = revisions.table_at(revision, paths.PREDICTIONS)
    except GraftError as error:
        if revisions.commit_at(revision):
            raise GraftError(f"{error}; {COMMIT_FIRST}") from error
        raise
    other = predictions_table(content, source)
    if not set(table["path"]) & set(other["path"]):
        # As after `graft import`, where the commit has the results on the digits.
        raise GraftError(f"{source}: of another data set, none of its images is here; {COMMIT_FIRST}")
    return paired_predictions(table, other, source), other


def paired_predictions(table: pd.DataFrame, other: pd.DataFrame, name: str) -> Comparison:
    """Return the comparison of two classifiers on the same images.

    Parameters
    ----------
    table, other : of each classifier, with the columns path, actual and predicted; each path once.
    name : of the other, in messages.

    Raises
    ------
    GraftError
        If the two have other images, or other classes for the same image.
    """
    columns = list(COLUMNS)
    pairs = table[columns].merge(other[columns], on="path", how="outer", suffixes=("", "_other"), indicator=True)
    here, there = (pairs["path"][pairs["_merge"] == side].tolist() for side in ("left_only", "right_only"))
    if here or there:
        examples = ", ".join((here + there)[:EXAMPLES])
        raise GraftError(
            f"{name}: not the same images, {len(here)} only here and {len(there)} only there, such as {examples}"
        )
    relabelled = pairs["path"][pairs["actual"] != pairs["actual_other"]]
    if len(relabelled):
        raise GraftError(f"{name}: not the same classes, {len(relabelled)} differ, such as {relabelled.iloc[0]}")
    right = pairs["predicted"] == pairs["actual"]
    other_right = pairs["predicted_other"] == pairs["actual"]
    only_this, only_other = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    return Comparison(
        images=len(pairs),
        accuracy=float(right.mean()),
        other_accuracy=float(other_right.mean()),
        balanced_accuracy=_mean_recall(right, pairs["actual"]),
        other_balanced_accuracy=_mean_recall(other_right, pairs["actual"]),
        only_this_right=only_this,
        only_other_right=only_other,
        p_value=mcnemar(only_this, only_other),
    )


def _mean_recall(right: pd.Series, actual: pd.Series) -> float:
    return float(right.groupby(actual).mean().mean())
