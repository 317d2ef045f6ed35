"""Folders in which Graft runs as its users run it: one for single stages, and a clone of the repository for dvc."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from benchmarks.harness import sides

BACKBONE = "MobileNetV2"
SIZE = 224
PARAMETERS = "params.yaml"


def settings(dataset: Path, weights: Path | None, **others: object) -> dict[str, object]:
    """Return the changes of params.yaml that all benchmarks share, and others; KEY of SECTION is SECTION__KEY."""
    shared = {"dataset": str(dataset), "backbone": BACKBONE, "weights": str(weights or "none"), "image_size": SIZE}
    return shared | others


def changed(values: dict, changes: Mapping[str, object]) -> dict:
    """Return the values of a params.yaml with some changed.

    Raises
    ------
    KeyError
        If there is no such key: without that, a misspelt change would change nothing.
    """
    values = dict(values)
    for name, value in changes.items():
        section, _, inner = name.partition("__")
        if section not in values:
            raise KeyError(f"{PARAMETERS} has no key {section}")
        values[section] = changed(values[section], {inner: value}) if inner else value
    return values


def write_parameters(folder: Path, changes: Mapping[str, object]) -> None:
    """Write the repository's params.yaml into `folder`, with these changes."""
    values = yaml.safe_load((sides.ROOT / PARAMETERS).read_text(encoding="utf-8"))
    (folder / PARAMETERS).write_text(yaml.safe_dump(changed(values, changes), sort_keys=False), encoding="utf-8")


class Workspace:
    """A folder in which stages run one by one, without dvc, on a store of its own.

    Parameters
    ----------
    folder : made here.
    changes : of params.yaml.
    """

    def __init__(self, folder: Path, changes: Mapping[str, object]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        write_parameters(folder, changes)

    def stage(self, name: str, store: Path | None = None) -> sides.Run:
        """Run a stage; return its seconds, memory and output."""
        store = store or self.folder / "store"
        return sides.python(f"stages.{name}", within=self.folder, GRAFT_STORE=str(store))

    def stages(self, *names: str) -> None:
        """Run stages that are not measured; print the last line of each."""
        for name in names:
            print(f"  {name}: {self.stage(name).output.strip().splitlines()[-1]}", flush=True)


class Clone:
    """A git clone of this repository at its last commit, with params.yaml changed and empty caches.

    Parameters
    ----------
    folder : made here, for the clone and for dvc's own files.
    changes : of params.yaml.
    """

    def __init__(self, folder: Path, changes: Mapping[str, object]):
        self.path = folder / "repository"
        self._variables = {
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "home"),
        }
        subprocess.run(["git", "clone", "--quiet", sides.ROOT, self.path], check=True)
        write_parameters(self.path, changes)
        self._git("config", "user.name", "Benchmark")
        self._git("config", "user.email", "benchmark@example.org")
        self._git("commit", "--quiet", "--all", "--message", "The benchmark's parameters")

    def dvc(self, *arguments: str) -> sides.Run:
        """Run dvc as a user does; return its seconds, memory and output."""
        return sides.run(["dvc", *arguments], self.path, **self._variables)

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.path, check=True)
