"""DVC experiments by what they depend on: run those that have no result yet, and read what they wrote.

crossval and study are made of it. The name of an experiment ends with a key, a hash of what its result depends on: one
with the same settings, code and images is found again by its key, whatever it is called, and not run twice.
`dvc exp remove NAME` forgets it.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from graft.commands import revisions
from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.settings import datasets, params
from graft.settings.resolved import weights_source

PIPELINE = Path("dvc.yaml")
LOGS = Path(".cache/experiments")
CODE = "stages/"
KEY_DIGITS = 10
# What git and DVC take as part of a name.
NAME = re.compile(r"\w+([.+-]\w+)*", re.ASCII)


@dataclass(frozen=True)
class Experiment:
    """Settings to run the pipeline with.

    Attributes
    ----------
    label : what people call it; the key makes it the experiment's name.
    settings : values by dotted key of params.yaml, as text; the others are those of params.yaml.
    key : of all that the result depends on, in hexadecimal.
    """

    label: str
    settings: Mapping[str, str]
    key: str

    @property
    def name(self) -> str:
        return f"{self.label}-{self.key}"


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


def planned(label: str, settings: Mapping[str, str]) -> Experiment:
    """Return the experiment of these settings.

    Raises
    ------
    GraftError
        If a setting is refused as it would be in params.yaml, or the label cannot be part of a name.
    """
    if not NAME.fullmatch(label):
        raise GraftError(f"{label}: no name for experiments; letters, digits and _ would do, and . + - between")
    return Experiment(label, dict(settings), _key(settings))


def _key(settings: Mapping[str, str]) -> str:
    parameters = params.load(changes=settings)
    root = Path(".")
    depends_on = [
        # The gate judges a result and is no part of it.
        parameters.model_dump(mode="json", exclude={"gate"}),
        _code(),
        _content(datasets.find(parameters.dataset, parameters.dataset_sha256, root)),
        _content(weights_source(parameters.weights, root)),
    ]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def _code() -> dict[str, object]:
    """Return of each stage its command, and the SHA-256 of each file of code that it declares."""
    stages = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"]
    return {
        name: [stage["cmd"], {path: _digest(Path(path)) for path in stage.get("deps", []) if path.startswith(CODE)}]
        for name, stage in stages.items()
    }


def _content(source: Path | datasets.Entry | dict) -> object:
    """Return what changes if and only if the images or weights do."""
    if isinstance(source, datasets.Entry):
        return source.model_dump(mode="json")
    if isinstance(source, dict):
        return source
    if source.is_file():
        return _digest(source)
    files = [Path(folder, name) for folder, _, names in os.walk(source, followlinks=True) for name in names]
    return {path.relative_to(source).as_posix(): _digest(path) for path in sorted(files)}


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_at(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_at(path: Path, size: int, changed: int) -> str:
    # Keys are made again before each experiment: a file that looks the same is not read again.
    return sha256_of(path)


def finished() -> dict[str, str]:
    """Return the git reference of each experiment by the key at the end of its name."""
    return {reference.rsplit("-", 1)[-1]: reference for reference in revisions.references()}


def completed(experiments: Sequence[Experiment]) -> Iterator[str]:
    """Yield the git reference of each experiment, after running it if it has no result yet; say so line by line.

    They run one after the other, in DVC's temporary clones: each uses all cores, and the workspace stays as it is.

    Raises
    ------
    GraftError
        If one fails, or what they depend on has changed since they were planned. Those before it are kept.
    """
    for number, experiment in enumerate(experiments, start=1):
        print(f"{number} of {len(experiments)}: {experiment.label}", end=" ", flush=True)
        started = time.monotonic()
        reference = finished().get(experiment.key)
        if reference is None:
            reference = _ran(experiment)
            print(f"({time.monotonic() - started:.0f} s)", flush=True)
        else:
            print(f"(done before, as {reference.rsplit('/', 1)[-1]})", flush=True)
        yield reference


def _ran(experiment: Experiment) -> str:
    # DVC takes the code and params.yaml as they are now.
    if _key(experiment.settings) != experiment.key:
        print()
        raise GraftError(f"{experiment.label}: params.yaml, the code or the images have changed meanwhile; run again")
    log = LOGS / f"{experiment.name}.log"
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
            status = process.wait()
        except KeyboardInterrupt:
            # The terminal has told DVC too: it removes its temporary clone if it is given the time.
            process.wait()
            raise
    reference = finished().get(experiment.key)
    if status or reference is None:
        print()
        raise GraftError(f"{experiment.label}: failed, {_reason(log)}; the others are kept, its log is {log}")
    return reference


def _reason(log: Path) -> str:
    """Return the line of a log that says most: what a stage says itself, what Python says of it, or what DVC says."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    # A progress bar's line ends with a carriage return, if at all.
    lines = [line.rpartition("\r")[2].strip() for line in lines]
    of_stage = [line for line in lines if line.startswith("error: ")]
    of_python = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    of_dvc = [line for line in lines if line.startswith("ERROR: ")]
    said = (of_stage[:1] or of_python[-1:] or of_dvc[:1] or ["it says nothing"])[0]
    return said.removeprefix("error: ").removeprefix("ERROR: ")
