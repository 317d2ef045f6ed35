"""dvc.yaml says of every stage what is true of its script."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMETERS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
# A part reads it, without an import that could be followed.
DATA_FILES = {"stages/parts/catalog.py": "stages/parts/datasets.yaml"}


def local_imports(path: Path) -> set[Path]:
    """Return the files of this repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "stages":
            base = ROOT / node.module.replace(".", "/")
            names = [base / f"{alias.name}.py" for alias in node.names]
            found |= {name for name in names if name.is_file()} or {base.with_suffix(".py")}
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.split(".")[0] == "stages"]
            found |= {ROOT / (module.replace(".", "/") + ".py") for module in modules}
    return found


@cache
def code_of(script: str) -> set[str]:
    """Return the script and all local files that it needs, directly or through others."""
    seen: set[Path] = set()
    waiting = [ROOT / script]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += local_imports(path)
    names = {path.relative_to(ROOT).as_posix() for path in seen}
    return names | {DATA_FILES[name] for name in names & DATA_FILES.keys()}


def parameter_paths(values: dict, prefix: str = "") -> set[str]:
    """Return the dotted names of all parameters that are no sections."""
    paths = set()
    for key, value in values.items():
        paths |= parameter_paths(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return paths


def parameters_read(script: str) -> set[str]:
    """Return the dotted names under `parameters` that a script reads; a section passed on counts as all its keys."""
    read = set()
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    # `parameters.split.seed` holds `parameters.split`, which is no reading of the whole section.
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        names = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "parameters":
            read.add(".".join(names))
    known = parameter_paths(PARAMETERS)
    # `parameters.augment.model_dump` takes the whole section.
    read |= {name.removesuffix(".model_dump") for name in read}
    return {path for path in known for name in read if path == name or path.startswith(name + ".")}


def declared(entries: list) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_script_of_its_name(stage):
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"
    assert (ROOT / "stages" / f"{stage}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_all_that_it_imports_and_on_no_other_code(stage):
    code = {name for name in declared(STAGES[stage]["deps"]) if name.startswith("stages/")}
    assert code == code_of(f"stages/{stage}.py")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "resolve"])
def test_a_stage_declares_each_parameter_that_it_reads_and_no_other(stage):
    script = f"stages/{stage}.py"
    read = parameters_read(script) if "stages/parts/params.py" in code_of(script) else set()
    assert set(STAGES[stage].get("params", [])) == read


def test_resolve_runs_on_a_change_of_any_parameter_but_lr():
    declared_names = set(STAGES["resolve"]["params"])
    covered = {path for path in parameter_paths(PARAMETERS) if {path, path.split(".")[0]} & declared_names}
    assert covered == parameter_paths(PARAMETERS) - {"lr"}


def test_every_parameter_is_declared_by_a_stage_or_read_by_the_gate():
    used = {name for stage in STAGES if stage != "resolve" for name in STAGES[stage].get("params", [])}
    gate = {path for path in parameter_paths(PARAMETERS) if path.startswith("gate.")}
    # `weights` reaches the other stages as the file that resolve writes.
    assert used | gate | {"weights"} == parameter_paths(PARAMETERS)


def test_each_part_of_the_code_is_used_by_a_script():
    scripts = [path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")]
    used = set().union(*(code_of(script) for script in scripts))
    parts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages/parts").glob("*.py")}
    assert parts - used == {"stages/parts/__init__.py"}


def test_parts_import_no_stage():
    for path in (ROOT / "stages/parts").glob("*.py"):
        assert {imported.parent.name for imported in local_imports(path)} <= {"parts"}, path


def test_every_output_of_a_stage_that_dvc_keeps_is_ignored_by_git_before_it_exists():
    for stage in STAGES.values():
        for output in stage.get("outs", []):
            path = ROOT / (output if isinstance(output, str) else next(iter(output)))
            ignored = (ROOT / path.relative_to(ROOT).parts[0] / ".gitignore").read_text(encoding="utf-8").split()
            relative = path.relative_to(ROOT)
            assert "/" + relative.relative_to(relative.parts[0]).parts[0] in ignored, path
