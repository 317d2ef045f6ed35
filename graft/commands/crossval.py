"""graft crossval: each fold of the split is the test part once, as a DVC experiment (see experiments.py).

Writes metrics/crossval.json and, image by image, metrics/crossval.csv. A copy of the latter stays in .cache under the
name of the cross-validation, for --against.
"""

import csv
import io
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from graft.commands import crossval_figures, experiments, revisions
from graft.commands.mend import mend, require_readable
from graft.commands.paired import predictions_table
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import write_json, write_text
from graft.settings import params

EXAMPLE = "graft crossval -S backbone=MobileNetV2 --name mobilenet"
COPIES = Path(".cache/crossval")
COLUMNS = ["path", "fold", "actual", "predicted"]
FOLD = "split.fold"


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
    return [experiments.new_experiment(f"{name}-fold{fold}", settings | {FOLD: str(fold)}) for fold in range(folds)]


def listed_images(settings: dict[str, str]) -> str | None:
    """Return data/images.csv of the workspace, or None if it is not of the data set that these settings choose."""
    try:
        stages = yaml.safe_load(experiments.LOCK.read_text(encoding="utf-8"))["stages"]
        dataset = stages["download"]["params"][paths.PARAMETERS.as_posix()]["dataset"]
        text = paths.IMAGES.read_text(encoding="utf-8")
    except (FileNotFoundError, KeyError, TypeError):
        # The pipeline has not run here.
        return None
    return text if dataset == params.load(changes=settings).dataset else None


def require_folds(images: str) -> None:
    """Check that a data set has folds, by the text of its data/images.csv.

    Raises
    ------
    GraftError
        If it has its own test part: that is the one whatever the fold.
    """
    if any(row["split"] == "test" for row in csv.DictReader(io.StringIO(images))):
        raise GraftError(
            f"{paths.IMAGES}: the data set has its own test part, so it has no folds; `dvc repro` tests on that part"
        )


def tested_images(references: Sequence[str]) -> pd.DataFrame:
    """Return a row for each image: the columns of metrics/predictions.csv and `fold`, in the order of the folds."""
    contents = (revisions.table_at(reference, paths.PREDICTIONS) for reference in references)
    tables = [
        predictions_table(content, f"{paths.PREDICTIONS} of fold {fold}").assign(fold=fold)
        for fold, content in enumerate(contents)
    ]
    return pd.concat(tables, ignore_index=True)


def figures(references: Sequence[str], images: pd.DataFrame) -> dict[str, object]:
    """Return the figures of metrics/crossval.json.

    Parameters
    ----------
    references : of the result of each fold.
    images : what `tested_images` returns of them.

    Returns
    -------
    Those of `crossval_figures.of_images`, and
    validation_accuracy_mean : of the exported models, over the folds.
    head : `crossval_figures.of_heads`.
    """
    heads = [revisions.json_at(reference, paths.HEAD_METRICS)["head"] for reference in references]
    validation = [experiments.validation_accuracy(reference) for reference in references]
    return {
        **crossval_figures.of_images(images),
        "validation_accuracy_mean": float(np.mean(validation)),
        "head": crossval_figures.of_heads(heads),
    }


def other_images(name: str) -> pd.DataFrame:
    """Return the images of another cross-validation: the columns of metrics/crossval.csv.

    Parameters
    ----------
    name : of a crossval.csv or the crossval.json beside it, of a cross-validation that ran here (its `--name`), or a
        revision that has metrics/crossval.csv.

    Raises
    ------
    GraftError
        If there is none, or it is no such file.
    """
    file, copy = Path(name.removesuffix(".json").removesuffix(".csv") + ".csv"), COPIES / f"{name}.csv"
    found = next((path for path in (file, copy) if path.is_file()), None)
    source = str(found) if found else f"{paths.CROSSVAL_IMAGES} at {name}"
    try:
        content = found.read_bytes() if found else revisions.file_at(name, paths.CROSSVAL_IMAGES)
    except GraftError as error:
        raise GraftError(
            f"{error}; give the name of one that ran here, or commit its {paths.CROSSVAL_IMAGES}"
        ) from error
    return predictions_table(content, source)


def report(summary: Mapping[str, Any]) -> str:
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
    mend(paths.repository())
    require_readable(paths.repository())
    settings = experiments.parse_settings(arguments.set_param)
    folds = fold_experiments(arguments.name, settings)
    if images := listed_images(settings):
        require_folds(images)
    other = other_images(arguments.against) if arguments.against else None
    references: list[str] = []
    for reference in experiments.run_each(folds):
        if not references:
            # It may be the first run on this data set.
            require_folds(revisions.output_at(reference, paths.IMAGES))
        references.append(reference)
    tested = tested_images(references)
    summary = {"name": arguments.name, "experiments": [fold.name for fold in folds], **figures(references, tested)}
    if other is not None:
        summary["mcnemar"] = crossval_figures.mcnemar_test(tested, other, arguments.against)
    table = tested[COLUMNS].to_csv(index=False, lineterminator="\n")
    copy = COPIES / f"{arguments.name}.csv"
    for path in (copy, paths.CROSSVAL_IMAGES):
        write_text(path, table)
    write_json(paths.CROSSVAL, summary)
    print(report(summary))
    print(f"written: {paths.CROSSVAL}; {paths.CROSSVAL_IMAGES}, each image; {copy}, the same for --against")
