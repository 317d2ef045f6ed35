"""The versions of the packages that results depend on: written down by resolve, checked by the stages that compute."""

import os
from importlib.metadata import version

from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, write_json

PACKAGES = (
    "ai-edge-litert",
    "keras",
    "matplotlib",
    "numpy",
    "pillow",
    "scikit-learn",
    "scipy",
    "tensorflow",
)


def installed_versions() -> dict[str, str]:
    """Return the version of each of `PACKAGES`, and whether TensorFlow uses oneDNN, as text by name."""
    return {name: version(name) for name in PACKAGES} | {"oneDNN": os.environ["TF_ENABLE_ONEDNN_OPTS"]}


def version_changes(earlier: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what differs between two results of `installed_versions`, such as "pillow 12.0.0 -> 12.1.0"."""
    names = sorted(earlier.keys() | now.keys())
    pairs = ((name, earlier.get(name, "none"), now.get(name, "none")) for name in names)
    return [f"{name} {before} -> {after}" for name, before, after in pairs if before != after]


def record_versions() -> None:
    """Write data/environment.json; where versions have changed, print which: DVC will run stages again for it."""
    now = installed_versions()
    if paths.ENVIRONMENT.exists() and (changes := version_changes(read_json(paths.ENVIRONMENT), now)):
        print(f"versions have changed, what they compute runs again: {', '.join(changes)}")
    write_json(paths.ENVIRONMENT, now)


def require_recorded_versions() -> None:
    """Check that the installed versions are those of data/environment.json.

    DVC does not see an upgrade by pip. Without this check, a stage would mix results of two versions. A stage that is
    run by hand before resolve has nothing to compare with.

    Raises
    ------
    GraftError
        If they are others.
    """
    if not paths.ENVIRONMENT.exists():
        return
    if changes := version_changes(read_json(paths.ENVIRONMENT), installed_versions()):
        raise GraftError(
            f"{paths.ENVIRONMENT}: other versions are installed ({', '.join(changes)}); "
            "`dvc repro --force --single-item resolve` writes them down, `dvc repro` then runs again what they change"
        )
