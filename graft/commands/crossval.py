"""graft crossval: each fold of the split is the test part once, as a DVC experiment (see experiments.py).

Writes metrics/crossval.json and, image by image, metrics/crossval.csv. A copy of the latter stays in .cache under the
name of the cross-validation, for --against.
"""

import io
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from graft.commands import experiments, revisions
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import write_json, write_text
from graft.scores.calibration import expected_calibration_error
from graft.scores.intervals import mcnemar, wilson_interval
from graft.settings import params

EXAMPLE = "graft crossval -S backbone=MobileNetV2 --name mobilenet"
EARLIER = Path(".cache/crossval")
COLUMNS = ["path", "fold", "actual", "predicted"]
FOLD = "split.fold"
NAMED_IMAGES = 3


def collected(references: Sequence[str]) -> pd.DataFrame:
    """Return a row for each image: the columns of metrics/predictions.csv and `fold`, in the order of the folds.

    Raises
    ------
    GraftError
        If an image is in the test part of more than one fold.
    """
    tables = [
        _table(revisions.file_at(reference, paths.PREDICTIONS)).assign(fold=fold)
        for fold, reference in enumerate(references)
    ]
    images = pd.concat(tables, ignore_index=True)
    repeated = images["path"][images["path"].duplicated()]
    if len(repeated):
        raise GraftError(
            f"{repeated.iloc[0]}: tested in more than one fold; a data set that brings its own test part has no folds"
        )
    return images


def _table(content: bytes) -> pd.DataFrame:
    # Names of classes are text, also such as "0" and "NA".
    text = dict.fromkeys(("path", "actual", "predicted"), str)
    return pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False)


def shares(right: np.ndarray, images: np.ndarray) -> dict[str, float]:
    """Return the accuracies of folds as one: over all images with its 95 % interval, and their mean and spread.

    Parameters
    ----------
    right : int array (folds,), how many of a fold's images are right.
    images : int array (folds,), how many there are.

    Returns
    -------
    accuracy, accuracy_low, accuracy_high : over all images, with the Wilson interval.
    accuracy_mean, accuracy_spread : mean and sample standard deviation over the folds.
    """
    low, high = wilson_interval(int(right.sum()), int(images.sum()))
    of_folds = right / images
    return {
        "accuracy": float(right.sum() / images.sum()),
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_mean": float(of_folds.mean()),
        "accuracy_spread": float(of_folds.std(ddof=1)),
    }


def figures(images: pd.DataFrame) -> dict[str, object]:
    """Return the figures of metrics/crossval.json of what `collected` returns: those of `shares`, and

    Returns
    -------
    balanced_accuracy : mean recall, from 0 to 1.
    expected_calibration_error : over all images, from 0 to 1.
    recall : by class.
    fold_accuracy : of each fold.
    images, folds : how many.
    """
    right = images["actual"] == images["predicted"]
    folds = right.groupby(images["fold"]).agg(["sum", "count", "mean"])
    recall = right.groupby(images["actual"]).mean()
    probabilities = images.filter(regex="^p_")
    labels = (probabilities.columns.str.removeprefix("p_")).get_indexer(images["actual"])
    error = expected_calibration_error(probabilities.to_numpy(), labels)
    return {
        **shares(folds["sum"].to_numpy(), folds["count"].to_numpy()),
        "balanced_accuracy": float(recall.mean()),
        "expected_calibration_error": error,
        "recall": recall.to_dict(),
        "fold_accuracy": folds["mean"].tolist(),
        "images": len(images),
        "folds": len(folds),
    }


def head_figures(heads: Sequence[dict]) -> dict[str, float]:
    """Return `shares` of the head alone, of the `head` in each fold's metrics/head.json, and its balanced accuracy.

    The latter is a mean over the folds: no file says which images the head has right.
    """
    images = np.array([head["images"] for head in heads])
    right = np.rint([head["accuracy"] for head in heads] * images).astype(int)
    return {
        **shares(right, images),
        "balanced_accuracy_mean": float(np.mean([head["balanced_accuracy"] for head in heads])),
    }


def validation_accuracy(reference: str) -> float:
    """Return the accuracy on the validation part of the model that an experiment exported, as it was exported."""
    return revisions.json_at(reference, paths.EXPORT_METRICS)["exported_validation"]["accuracy"]


def other_figures(references: Sequence[str]) -> dict[str, object]:
    """Return what metrics/crossval.json says beside the test images' figures, by each fold's own metrics.

    Returns
    -------
    validation_accuracy_mean : of the exported models.
    head : `head_figures`.
    """
    heads = [revisions.json_at(reference, paths.HEAD_METRICS)["head"] for reference in references]
    validation = [validation_accuracy(reference) for reference in references]
    return {"validation_accuracy_mean": float(np.mean(validation)), "head": head_figures(heads)}


def compared(images: pd.DataFrame, other: pd.DataFrame, name: str) -> dict[str, object]:
    """Return McNemar's test of two classifiers on the same images, paired by path.

    Parameters
    ----------
    images, other : with columns path, actual, predicted.
    name : of the other.

    Raises
    ------
    GraftError
        If the images are not the same, or of other classes.
    """
    both = images.merge(other, on="path", how="outer", suffixes=("", "_other"), indicator=True)
    here, there = (both["path"][both["_merge"] == side].tolist() for side in ("left_only", "right_only"))
    if here or there:
        example = ", ".join((here + there)[:NAMED_IMAGES])
        raise GraftError(
            f"{name}: not the same images, {len(here)} only here and {len(there)} only there, such as {example}"
        )
    relabelled = both["path"][both["actual"] != both["actual_other"]]
    if len(relabelled):
        raise GraftError(f"{name}: not the same classes, {len(relabelled)} differ, such as {relabelled.iloc[0]}")
    right, right_other = both["predicted"] == both["actual"], both["predicted_other"] == both["actual"]
    only_here, only_other = int((right & ~right_other).sum()), int((right_other & ~right).sum())
    return {
        "against": name,
        "accuracy": float(right_other.mean()),
        "only_this_right": only_here,
        "only_other_right": only_other,
        "p_value": mcnemar(only_here, only_other),
    }


def earlier(name: str) -> pd.DataFrame:
    """Return the images of another cross-validation.

    Parameters
    ----------
    name : of a crossval.csv or the crossval.json beside it, of a cross-validation that ran here (its `--name`), or a
        revision that has metrics/crossval.csv.

    Raises
    ------
    GraftError
        If there is none, or it is no such file.
    """
    file, kept = Path(name.removesuffix(".json").removesuffix(".csv") + ".csv"), EARLIER / f"{name}.csv"
    found = next((path for path in (file, kept) if path.is_file()), None)
    source = str(found) if found else f"{paths.CROSSVAL_IMAGES} at {name}"
    try:
        content = found.read_bytes() if found else revisions.file_at(name, paths.CROSSVAL_IMAGES)
    except GraftError as error:
        raise GraftError(f"{error}; give the name of one that ran here, or commit its {paths.CROSSVAL_IMAGES}") from error
    try:
        images = _table(content)
    except (ValueError, UnicodeDecodeError) as error:
        raise GraftError(f"{source}: not a CSV file ({' '.join(str(error).split())})") from error
    missing = [column for column in COLUMNS if column not in images]
    if missing or images["path"].duplicated().any():
        fault = f"without a column {missing[0]}" if missing else "with a path twice"
        raise GraftError(f"{source}: not written by crossval, {fault}")
    return images


def fold_experiments(name: str, settings: dict[str, str]) -> list[experiments.Experiment]:
    """Return an experiment for each fold of the split.

    Raises
    ------
    GraftError
        If a setting is refused, or is `split.fold`.
    """
    if FOLD in settings:
        raise GraftError(f"{FOLD}: every fold has its turn; leave it out")
    folds = params.load(changes=settings).split.folds
    return [experiments.planned(f"{name}-fold{fold}", settings | {FOLD: str(fold)}) for fold in range(folds)]


def report(summary: dict) -> str:
    """Return what metrics/crossval.json says, in a few lines."""
    head, lines = summary["head"], []
    for title, part in (("exported model", summary), ("head alone", head)):
        lines.append(
            f"{title:14}  {part['accuracy']:.4f} ({part['accuracy_low']:.4f} to {part['accuracy_high']:.4f}), "
            f"over {summary['folds']} folds {part['accuracy_mean']:.4f} +- {part['accuracy_spread']:.4f}"
        )
    lines.append(
        f"{summary['images']} images; balanced accuracy {summary['balanced_accuracy']:.4f}, "
        f"expected calibration error {summary['expected_calibration_error']:.4f}"
    )
    if pair := summary.get("mcnemar"):
        lines.append(
            f"{pair['against']}: {pair['accuracy']:.4f}; right only here {pair['only_this_right']}, only there "
            f"{pair['only_other_right']}, McNemar p {pair['p_value']:.2g}"
        )
    return "\n".join(lines)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft crossval`."""
    parser.add_argument("-S", "--set-param", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--name", default="crossval", help="what the experiments are called (default: %(default)s)")
    parser.add_argument("--against", metavar="FILE_OR_REVISION", help="also McNemar's test against this one")


def main(arguments: Namespace) -> None:
    """Run every fold of the split, and write metrics/crossval.json and crossval.csv."""
    settings = experiments.parse_settings(arguments.set_param)
    planned = fold_experiments(arguments.name, settings)
    other = earlier(arguments.against) if arguments.against else None
    references = []
    for reference in experiments.completed(planned):
        references.append(reference)
        # After each fold, so that images which have no folds do not cost five runs.
        images = collected(references)
    names = [reference.rsplit("/", 1)[-1] for reference in references]
    summary = {"name": arguments.name, "experiments": names, **figures(images)}
    summary |= other_figures(references)
    if other is not None:
        summary["mcnemar"] = compared(images, other, arguments.against)
    table = images[COLUMNS].to_csv(index=False, lineterminator="\n")
    for path in (EARLIER / f"{arguments.name}.csv", paths.CROSSVAL_IMAGES):
        write_text(path, table)
    write_json(paths.CROSSVAL, summary)
    print(report(summary))
