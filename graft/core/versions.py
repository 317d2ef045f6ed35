"""The versions of the packages that results depend on: written down by resolve, checked by the stages that compute."""

import os
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version

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
# Counts only where a data set has such images: who has none needs no package for them.
HEIC = "pillow-heif"
NONE = "none"


def installed_versions(others: Collection[str] = ()) -> dict[str, str]:
    """Return the version of each of `PACKAGES` and of others, and whether TensorFlow uses oneDNN, as text by name.

    Parameters
    ----------
    others : more packages; the version of one that is not installed is "none".
    """
    versions = {name: _version(name) for name in (*PACKAGES, *others)}
    return versions | {"oneDNN": os.environ["TF_ENABLE_ONEDNN_OPTS"]}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return NONE


def version_changes(earlier: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what differs between two results of `installed_versions`, such as "pillow 12.0.0 -> 12.1.0"."""
    names = sorted(earlier.keys() | now.keys())
    pairs = ((name, earlier.get(name, NONE), now.get(name, NONE)) for name in names)
    return [f"{name} {before} -> {after}" for name, before, after in pairs if before != after]


def record_versions(heic: bool = False) -> None:
    """Write data/environment.json; where versions have changed, print which: DVC will run stages again for it.

    Parameters
    ----------
    heic : whether the data set has HEIC images.
    """
    now = installed_versions([HEIC] if heic else ())
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
    earlier = read_json(paths.ENVIRONMENT)
    if changes := version_changes(earlier, installed_versions(earlier.keys() & {HEIC})):
        raise GraftError(
            f"{paths.ENVIRONMENT}: other versions are installed ({', '.join(changes)}); "
            "`dvc repro --force --single-item resolve` writes them down, `dvc repro` then runs again what they change"
        )
