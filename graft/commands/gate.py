"""graft gate: check the metrics against the thresholds under `gate` in params.yaml.

The exit status is 0 if all checks pass and 1 if one fails. A figure that is missing or not a number fails.
"""

import json
import math
import operator
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from graft.commands.paired import Comparison, compared_with, predictions_table
from graft.core.errors import GraftError
from graft.core.files import table_bytes
from graft.core.paths import ACCURACY, FORMAT_METRICS, PARAMETERS, PREDICTIONS
from graft.settings import params

EXAMPLE = "graft gate --against main"
# The shipped file in metrics/formats.json.
SHIPPED = "tflite"
# The thresholds that params.yaml ships with, and the data set that they are for.
DIGITS = "digits"
OF_DIGITS = {"min_accuracy": 0.95, "min_balanced_accuracy": 0.94, "max_expected_calibration_error": 0.1}


def _content(path: Path) -> bytes:
    """Return the bytes of a metrics file, which git keeps."""
    try:
        return table_bytes(path)
    except FileNotFoundError as error:
        raise GraftError(
            f"{path}: no such file; `dvc repro` writes it, `git checkout {path}` brings back that of the last commit"
        ) from error


def read_metrics(path: Path = ACCURACY) -> dict[str, object]:
    """Return the content of metrics/accuracy.json, or of another file with metrics.

    Raises
    ------
    GraftError
        If the file is missing, or not a JSON object.
    """
    try:
        metrics = json.loads(_content(path))
    except (ValueError, RecursionError) as error:
        raise GraftError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(metrics, dict):
        raise GraftError(f"{path}: not a JSON object")
    return metrics


def figure(metrics: dict[str, object], name: str, source: str = str(ACCURACY)) -> float:
    """Return a figure of metrics/accuracy.json, or of another `source`.

    Raises
    ------
    GraftError
        If it is missing, or not a finite number.
    """
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GraftError(f"{source}: {name} is {'missing' if value is None else repr(value)}, a number is needed")
    return float(value)


def thresholds(settings: params.Gate) -> Iterator[tuple[str, Callable[[float], bool], str]]:
    """Yield for each threshold the name of its figure, whether a value passes, and the threshold as text."""
    least = {"accuracy": settings.min_accuracy, "balanced_accuracy": settings.min_balanced_accuracy}
    for name, bound in least.items():
        yield name, partial(operator.le, bound), f"at least {bound}"
    most = settings.max_expected_calibration_error
    yield "expected_calibration_error", lambda value: value <= most, f"at most {most}"


def outcomes(metrics: dict[str, object], settings: params.Gate) -> Iterator[tuple[bool, str]]:
    """Yield for each threshold whether its figure passes, and a line that says so."""
    for name, passes, threshold in thresholds(settings):
        try:
            value = figure(metrics, name)
        except GraftError as error:
            yield False, str(error)
        else:
            yield passes(value), f"{name} {value:.4f}, {threshold}"


def export_drops(settings: params.Gate) -> Iterator[tuple[bool, str]]:
    """Yield for each file in a further format whether its accuracy passes, and a line that says so.

    Nothing is judged where metrics/formats.json is missing (of an earlier version) or has no format.
    """
    formats = read_metrics(FORMAT_METRICS) if FORMAT_METRICS.exists() else {}
    for name in formats:
        try:
            before, now = (_accuracy(formats, each) for each in (SHIPPED, name))
        except GraftError as error:
            yield False, str(error)
        else:
            if name != SHIPPED:
                # Ten digits, because 0.95 - 0.94 is not exactly 0.01.
                small = round(before - now, 10) <= settings.max_export_drop
                line = (
                    f"accuracy {now:.4f} as {name}, {before:.4f} as {SHIPPED}, may drop by {settings.max_export_drop}"
                )
                yield small, line


def _accuracy(formats: dict[str, object], name: str) -> float:
    figures = formats.get(name)
    return figure(figures if isinstance(figures, dict) else {}, "accuracy", f"{FORMAT_METRICS}: {name}")


def drops(comparison: Comparison, revision: str, settings: params.Gate) -> Iterator[tuple[bool, str]]:
    """Yield for each figure that must not drop whether it passes, and a line that says so.

    A drop fails if it is larger than `max_drop` and McNemar's test finds that the two classifiers differ. A test part
    of a few hundred images makes drops of a hundredth between equally good classifiers.
    """
    significant = comparison.p_value <= settings.significance
    for name in ("accuracy", "balanced_accuracy"):
        now, before = getattr(comparison, name), getattr(comparison, f"other_{name}")
        # Ten digits, because 0.95 - 0.94 is not exactly 0.01.
        small = round(before - now, 10) <= settings.max_drop
        line = f"{name} {now:.4f}, {before:.4f} at {revision}, may drop by {settings.max_drop}"
        yield small or not significant, line if small or significant else f"{line}; the drop is not significant"


def _all_pass(results: Iterable[tuple[bool, str]]) -> bool:
    """Print each result; return whether all pass."""
    failed = 0
    for passes, line in results:
        print(f"{'pass' if passes else 'FAIL'}  {line}")
        failed += not passes
    return not failed


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft gate`."""
    parser.add_argument(
        "--against", metavar="REV", help="also fail on a significant drop since this commit, branch, tag or experiment"
    )


def note_on_thresholds(parameters: params.Parameters) -> str | None:
    """Return a line if the thresholds are still those for the digits, though the images are others."""
    if parameters.dataset == DIGITS or any(getattr(parameters.gate, key) != value for key, value in OF_DIGITS.items()):
        return None
    return f"note  gate in {PARAMETERS} still has the thresholds for {DIGITS}; set your own: {', '.join(OF_DIGITS)}"


def main(arguments: Namespace) -> int:
    """Print whether each check passes; return the exit status, 1 if one fails."""
    parameters = params.load()
    settings = parameters.gate
    passes = _all_pass(outcomes(read_metrics(), settings))
    if note := note_on_thresholds(parameters):
        print(note)
    passes &= _all_pass(export_drops(settings))
    revision = arguments.against
    if revision is not None:
        found, _ = compared_with(predictions_table(_content(PREDICTIONS), str(PREDICTIONS)), revision)
        print(
            f"note  of {found.images} images, {found.only_this_right} are right only here and "
            f"{found.only_other_right} only at {revision}; McNemar p {found.p_value:.3g}, "
            f"significant up to {settings.significance:g}"
        )
        passes &= _all_pass(drops(found, revision, settings))
    return 0 if passes else 1
