"""DVC experiments: run the pipeline with other settings, and check that results may be compared.

`graft crossval` and `graft study` are made of it. Nothing is noted here of what ran before: DVC's run cache brings back
each stage that ran with the same code, data and settings.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from graft.commands import revisions
from graft.core import paths
from graft.core.errors import GraftError
from graft.settings import datasets, params
from graft.settings.resolved import weights_source

LOCK = Path("dvc.lock")
LOGS = Path(".cache/experiments")
# What DVC says where it cannot bring changes of the working tree into an experiment, as of a file that is now a link.
UNCOMMITTED = "Could not apply stash commit"
# What git and DVC accept as part of a name.
NAME = re.compile(r"\w+([.+-]\w+)*", re.ASCII)
# Runs in each temporary clone: its outputs are links, which neither git nor DVC's cache holds.
NEVER_CACHED = {"resolve"}
# The files that stand for the data set and the weights, and the keys that choose them.
CHOSEN_BY = {paths.SOURCE.as_posix(): "dataset", paths.WEIGHTS.as_posix(): "weights"}
# The gate judges a result and has no part in it.
WITHOUT_EFFECT = {"gate"}


@dataclass(frozen=True)
class Experiment:
    """Settings to run the pipeline with.

    Attributes
    ----------
    name : of the experiment in DVC.
    settings : values by dotted key of params.yaml, as text; the others are those of params.yaml.
    """

    name: str
    settings: Mapping[str, str]


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """Return values by key of texts `KEY=VALUE`; of equal keys the last counts.

    Raises
    ------
    GraftError
        If a text is not of that form.
    """
    settings = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (sign and re.fullmatch(r"\w+(\.\w+)*", key)):
            raise GraftError(f"{text}: not of the form KEY=VALUE, with a key of params.yaml such as split.fold")
        settings[key] = value
    return settings


def new_experiment(name: str, settings: Mapping[str, str]) -> Experiment:
    """Return the experiment of these settings; nothing runs yet.

    Raises
    ------
    GraftError
        If a setting is refused as it would be in params.yaml, or DVC would refuse the name.
    """
    if not NAME.fullmatch(name):
        raise GraftError(f"{name}: no name for experiments; letters, digits and _ would do, and . + - between")
    parameters = params.load(changes=settings)
    datasets.find(parameters.dataset, parameters.dataset_sha256, Path())
    weights_source(parameters.weights, Path())
    return Experiment(name, dict(settings))


def run_each(experiments: Sequence[Experiment]) -> Iterator[str]:
    """Run the experiments one after the other, and yield the git reference of each result; print a line for each.

    They run in DVC's temporary clones: the workspace stays as it is. One at a time, because each uses all cores. A
    result replaces an earlier one of the same name.

    Raises
    ------
    GraftError
        If one fails; the earlier result of its name is kept. Or if the code, the data or a parameter that no experiment
        sets has changed since an earlier one: then the results cannot be compared. Or if there is no commit.
    """
    revisions.require_commit()
    own_settings = {key for experiment in experiments for key in experiment.settings}
    first_seen: dict[str, tuple[object, str]] = {}
    for number, experiment in enumerate(experiments, start=1):
        print(f"{number} of {len(experiments)}: {experiment.name}", end=" ", flush=True)
        started = time.monotonic()
        try:
            reference, computed = _run(experiment)
        except GraftError:
            print()
            raise
        seconds = f"{time.monotonic() - started:.0f} s"
        print(f"({seconds})" if computed else f"({seconds}, nothing had to be computed)", flush=True)
        for name, value in inputs(reference, without=own_settings).items():
            earlier_value, earlier = first_seen.setdefault(name, (value, experiment.name))
            if value != earlier_value:
                raise GraftError(
                    f"{experiment.name}: {name} has changed since {earlier} ran; run again: what still holds is not "
                    "computed again"
                )
        yield reference


def inputs(reference: str, without: Iterable[str]) -> dict[str, object]:
    """Return what a result was computed from, by name: the parameters, and of all stages the commands, code and data.

    Parameters
    ----------
    reference : of an experiment, or any other revision.
    without : dotted keys of parameters, or of whole sections, to leave out.

    Returns
    -------
    Parameters by dotted key; a command by its stage; of code and data what dvc.lock has of it, its MD5 above all.
    """
    parameters = yaml.safe_load(revisions.file_at(reference, paths.PARAMETERS))
    stages = yaml.safe_load(revisions.file_at(reference, LOCK))["stages"]
    found = dict(_flat(parameters, {*without, *WITHOUT_EFFECT}))
    computed = [Path(output["path"]) for stage in stages.values() for output in stage.get("outs", [])]
    for name, stage in stages.items():
        found[f"the command of {name}"] = stage["cmd"]
        for dependency in stage.get("deps", []):
            path = dependency["path"]
            if key := CHOSEN_BY.get(path):
                # Another data set is another setting; the same one must hold the same images.
                found[f"{key} {parameters[key]}"] = dependency
            # A stage may read one file of a folder that another one writes.
            elif not any(Path(path).is_relative_to(output) for output in computed):
                found[path] = dependency
    return found


def _flat(values: Mapping[str, object], without: set[str], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested sections by dotted key."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in without:
            continue
        if isinstance(value, dict):
            yield from _flat(value, without, f"{key}.")
        else:
            yield key, value


def validation_accuracy(reference: str) -> float:
    """Return the accuracy on the validation part of the model that an experiment exported, as it was exported."""
    return revisions.json_at(reference, paths.EXPORT_METRICS)["exported_validation"]["accuracy"]


def _run(experiment: Experiment) -> tuple[str, bool]:
    """Return the git reference of the result, and whether any stage had to compute something."""
    log = LOGS / f"{experiment.name}.log"
    reference = revisions.experiment(experiment.name)
    with _free(reference):
        status = _dvc_exp_run(experiment, log)
        done = not status and revisions.commit_at(reference) is not None
    text = log.read_text(encoding="utf-8", errors="replace")
    if not done:
        raise GraftError(f"{experiment.name}: failed, {failure(text)}; the others are kept, its log is {log}")
    return reference, bool(set(re.findall(r"Running stage '(.+?)':", text)) - NEVER_CACHED)


@contextmanager
def _free(reference: str) -> Iterator[None]:
    """Free the name of an experiment; if the block makes no new one, the earlier one gets it back.

    DVC refuses a name that is taken, and its --force would also run every stage again.
    """
    earlier = revisions.commit_at(reference)
    if earlier:
        revisions.git("update-ref", "-d", reference)
    try:
        yield
    finally:
        if earlier and revisions.commit_at(reference) is None:
            revisions.git("update-ref", reference, earlier)


def _dvc_exp_run(experiment: Experiment, log: Path) -> int:
    """Return the exit status of DVC; what it and the stages print goes to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    settings = [part for key, value in experiment.settings.items() for part in ("-S", f"{key}={value}")]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", experiment.name, *settings]
    # The stages are run as `python`, which must be this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"PATH": path}) as process,
    ):
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal interrupts DVC too: it removes its temporary clone if it is given the time.
            process.wait()
            raise


def failure(log: str) -> str:
    """Return the line of a log that says most about a failure: a stage's error, else Python's, else DVC's or git's."""
    # A progress bar's line ends with a carriage return, if at all.
    lines = [line.rpartition("\r")[2].strip() for line in log.splitlines()]
    of_stage = [line for line in lines if line.startswith("error: ")]
    of_python = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    of_tool = [line for line in lines if line.startswith(("ERROR: ", "fatal: "))]
    line = (of_stage[:1] or of_python[-1:] or of_tool[:1] or ["it says nothing"])[0]
    if UNCOMMITTED in line:
        return "DVC cannot take over what is not committed; commit it first: `git add . && git commit -m results`"
    return line.removeprefix("error: ").removeprefix("ERROR: ")
