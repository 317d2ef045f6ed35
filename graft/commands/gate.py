"""graft gate: check the metrics against the thresholds under `gate` in params.yaml.

Exits 0 if all hold and 1 if any fails. A figure that is missing or no number fails: a comparison that cannot be made is
no pass.
"""

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from graft.commands import revisions
from graft.core.errors import GraftError
from graft.core.paths import ACCURACY
from graft.settings import params

EXAMPLE = "graft gate --against main"
METRICS = ACCURACY
DROPS = ("accuracy", "balanced_accuracy")


def figure(metrics: dict, name: str, source: str) -> float:
    """Return a figure of a metrics file.

    Raises
    ------
    GraftError
        If it is missing, or no finite number.
    """
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GraftError(f"{source}: {name} is {'missing' if value is None else repr(value)}, a number is needed")
    return float(value)


def parsed(text: bytes, source: str) -> dict:
    """Return the content of a metrics file.

    Raises
    ------
    GraftError
        If it is no JSON object.
    """
    try:
        metrics = json.loads(text)
    except ValueError as error:
        raise GraftError(f"{source}: not a JSON file ({error})") from error
    if not isinstance(metrics, dict):
        raise GraftError(f"{source}: not a JSON object")
    return metrics


def metrics_here() -> dict:
    """Return the workspace's metrics."""
    try:
        return parsed(METRICS.read_bytes(), str(METRICS))
    except FileNotFoundError as error:
        raise GraftError(f"{METRICS}: no such file; `dvc repro` writes it") from error


def metrics_at(revision: str) -> dict:
    """Return the metrics of a commit, branch, tag or experiment.

    Raises
    ------
    GraftError
        If there is no such revision, or it has no metrics.
    """
    return parsed(revisions.file_at(revision, METRICS), f"{METRICS} at {revision}")


def checks(settings: params.Gate) -> Iterator[tuple[str, Callable[[float], bool], str]]:
    """Yield each threshold: the figure's name, whether a value passes, and the threshold in words."""
    yield "accuracy", lambda value: value >= settings.min_accuracy, f"at least {settings.min_accuracy}"
    yield (
        "balanced_accuracy",
        lambda value: value >= settings.min_balanced_accuracy,
        f"at least {settings.min_balanced_accuracy}",
    )
    bound = settings.max_expected_calibration_error
    yield "expected_calibration_error", lambda value: value <= bound, f"at most {bound}"


def outcomes(metrics: dict, settings: params.Gate) -> Iterator[tuple[bool, str]]:
    """Yield for each threshold whether it holds, and a line that says so."""
    for name, passes, threshold in checks(settings):
        try:
            value = figure(metrics, name, str(METRICS))
        except GraftError as error:
            yield False, str(error)
        else:
            yield passes(value), f"{name} {value:.4f}, {threshold}"


def drops(metrics: dict, earlier: dict, revision: str, settings: params.Gate) -> Iterator[tuple[bool, str]]:
    """Yield for each figure that must not drop whether it does not, and a line that says so."""
    for name in DROPS:
        try:
            now, before = figure(metrics, name, str(METRICS)), figure(earlier, name, f"{METRICS} at {revision}")
        except GraftError as error:
            yield False, str(error)
        else:
            line = f"{name} {now:.4f}, {before:.4f} at {revision}, may drop by {settings.max_drop}"
            # Ten digits: 0.95 - 0.94 is not 0.01 to the last bit.
            yield round(before - now, 10) <= settings.max_drop, line


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft gate`."""
    parser.add_argument("--against", metavar="REV", help="also fail on a drop since this commit, branch or experiment")


def main(arguments: Namespace) -> int:
    """Print whether each threshold holds; return the exit status, 1 if one does not."""
    revision = arguments.against
    settings = params.load().gate
    metrics = metrics_here()
    results = list(outcomes(metrics, settings))
    if revision is not None:
        earlier = metrics_at(revision)
        results += drops(metrics, earlier, revision, settings)
        counts = metrics.get("images"), earlier.get("images")
        if counts[0] != counts[1]:
            print(f"note  not the same test part: {counts[0]} images, {counts[1]} at {revision}")
    for holds, line in results:
        print(f"{'pass' if holds else 'FAIL'}  {line}")
    return 0 if all(holds for holds, _ in results) else 1
