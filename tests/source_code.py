"""Reads the repository's own code: which files a file imports, and which parameters they read."""

import ast
from functools import cache
from pathlib import Path

import own_parameters

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("graft", "stages")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[Path]:
    """Return the files of this repository that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    own = [module.replace(".", "/") for module in modules if module.split(".")[0] in PACKAGES]
    return frozenset(ROOT / f"{module}.py" for module in own if (ROOT / f"{module}.py").is_file())


@cache
def reached(path: Path) -> frozenset[Path]:
    """Return a file and all files that it needs, directly or through others."""
    seen, waiting = set(), [path]
    while waiting:
        if (current := waiting.pop()) not in seen:
            seen.add(current)
            waiting += imports(current)
    return frozenset(seen)


def parameter_paths(values: dict = own_parameters.VALUES, prefix: str = "") -> set[str]:
    """Return the dotted names of all parameters that are no sections."""
    paths = set()
    for key, value in values.items():
        paths |= parameter_paths(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return paths


def parameters_read(path: Path) -> set[str]:
    """Return the dotted names that a file reads of `parameters`; a section handed on counts as all its keys."""
    # `parameters.split.seed` holds `parameters.split`, which is no reading of the whole section.
    inner = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    read = set()
    for found in ast.walk(tree(path)):
        node, names = found, []
        while isinstance(node, ast.Attribute) and (names or id(node) not in inner):
            names.insert(0, node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "parameters":
            read.add(".".join(names))
    return {known for known in parameter_paths() for name in read if known == name or known.startswith(name + ".")}
