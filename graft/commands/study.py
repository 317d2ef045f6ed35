"""graft study: run variants of the settings over several seeds or folds, and rank them.

The studies are in studies.yaml. Variants are ranked by the accuracy on the validation part: nothing is chosen on the
test part, whose accuracy stands beside it. Every run is a DVC experiment (see experiments.py): a stage that ran before
with the same settings is not run again. Writes metrics/studies/NAME.csv and NAME.png.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graft.commands import experiments, revisions
from graft.commands.mend import mend, require_readable
from graft.core import paths
from graft.core.errors import GraftError, nearest
from graft.core.files import write_text
from graft.report import figures
from graft.settings.yaml_file import read_yaml

EXAMPLE = "graft study augmentation -S dataset=flower_photos"
PARTS = ("validation", "test")


class Study(BaseModel):
    """One comparison.

    Attributes
    ----------
    about : what is compared, in a line.
    settings : texts KEY=VALUE that hold for all variants.
    over : the one key that differs between runs of a variant, and its values: seeds, or folds of the split.
    variants : the texts KEY=VALUE of each, by its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: Annotated[str, Field(min_length=1)]
    settings: list[str] = []
    over: Annotated[dict[str, Annotated[list[int], Field(min_length=1)]], Field(min_length=1, max_length=1)]
    variants: Annotated[dict[str, list[str]], Field(min_length=1)]


def load(name: str, path: Path = paths.STUDIES) -> Study:
    """Return a study.

    Raises
    ------
    GraftError
        If there is none of this name, or the file is not as it must be.
    """
    studies = read_yaml(path)
    if not isinstance(studies, dict) or name not in studies:
        known = map(str, studies) if isinstance(studies, dict) else ()
        raise GraftError(f"{path}: no study is called {name!r}; {nearest(name, known)}")
    try:
        return Study.model_validate(studies[name])
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join([name, *map(str, fault["loc"])])
        raise GraftError(f"{path}: {key}: {fault['msg']}") from error


def planned_runs(name: str, study: Study, extra: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each run: variant, value (of the key that differs), experiment.

    Of two settings of the same key, the variant's counts more than `extra`, and `extra` more than the study's own.

    Raises
    ------
    GraftError
        If a setting is refused.
    """
    ((key, values),) = study.over.items()
    shared = experiments.parse_settings(study.settings) | dict(extra)
    rows = []
    for variant, texts in study.variants.items():
        settings = shared | experiments.parse_settings(texts)
        for value in values:
            run = f"{name}-{variant}-{key.rsplit('.', 1)[-1]}{value}"
            rows.append((variant, value, experiments.new_experiment(run, settings | {key: str(value)})))
    return pd.DataFrame(rows, columns=["variant", "value", "experiment"])


def accuracies_of(references: Sequence[str]) -> pd.DataFrame:
    """Return the accuracies, from 0 to 1, on the validation and the test part, a row for each experiment."""
    rows = [
        {
            "validation": experiments.validation_accuracy(reference),
            "test": revisions.json_at(reference, paths.ACCURACY)["accuracy"],
        }
        for reference in references
    ]
    return pd.DataFrame(rows)


def ranking(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each variant, the best mean on the validation part first; of equals, the first named.

    Parameters
    ----------
    accuracies : columns variant, validation, test; a row for each run.

    Returns
    -------
    Columns variant, runs, and of validation and test the mean, the spread, which is the sample standard deviation over
    the runs (NaN of a single one), the least and the greatest.
    """
    figures = {"mean": "mean", "spread": "std", "min": "min", "max": "max"}
    table = accuracies.groupby("variant", sort=False).agg(
        runs=("validation", "size"),
        **{f"{part}_{name}": (part, figure) for part in PARTS for name, figure in figures.items()},
    )
    return table.sort_values("validation_mean", ascending=False, kind="stable").reset_index()


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft study`."""
    parser.add_argument("name", help=f"of a study in {paths.STUDIES}")
    parser.add_argument("-S", "--set-param", metavar="KEY=VALUE", action="append", default=[])


def main(arguments: Namespace) -> None:
    """Run every variant of a study; write metrics/studies/NAME.csv and .png."""
    mend(paths.repository())
    require_readable(paths.repository())
    name = arguments.name
    study = load(name)
    runs = planned_runs(name, study, experiments.parse_settings(arguments.set_param))
    references = list(experiments.run_each(runs["experiment"].tolist()))
    table = ranking(pd.concat([runs[["variant", "value"]], accuracies_of(references)], axis=1))
    write_text(paths.STUDY_RESULTS / f"{name}.csv", table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    figures.study(paths.STUDY_RESULTS / f"{name}.png", table, study.about)
    print(table.to_string(index=False, float_format="{:.4f}".format, na_rep="-"))
