"""Packages that are needed for some tasks only: the extras of pyproject.toml."""

from collections.abc import Sequence
from importlib.util import find_spec

from graft.core.errors import GraftError


def is_installed(*packages: str) -> bool:
    """Return whether all of these packages can be imported, without importing them."""
    return all(find_spec(package) for package in packages)


def require(key: str, packages: Sequence[str], extra: str) -> None:
    """Check that packages are installed.

    Parameters
    ----------
    key : of params.yaml, or the option of a command that needs them, for the error message.
    packages : the names by which they are imported.
    extra : of pyproject.toml, which has them.

    Raises
    ------
    GraftError
        If one is not installed.
    """
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        raise GraftError(
            f"{key}: the package {missing[0]} is not installed; run pip install -c constraints.txt -e '.[{extra}]'"
        )


def require_formats(names: Sequence[str], key: str) -> None:
    """Check that the packages of some formats of the exported file are installed, as `require` does."""
    if "onnx" in names:
        require(key, ("onnx", "onnxruntime"), "onnx")
