"""dvc.yaml says of every stage what is true of its code, and the folders of graft/ use each other one way."""

from graphlib import TopologicalSorter

import own_parameters
import pytest
import yaml
from source_code import ROOT, imports, parameter_paths, parameters_read, reached, tree

PIPELINE = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
STAGES = yaml.safe_load(PIPELINE)["stages"]
ROOMS = sorted(path for path in (ROOT / "graft").iterdir() if (path / "__init__.py").is_file())
MODULES = sorted((ROOT / "graft").rglob("*.py"))
# From the bottom up: a room uses only rooms of the floors below its own.
FLOORS = (
    {"core", "scores"},
    {"images"},
    {"settings"},
    {"data", "backbone", "activations"},
    {"heads"},
    {"training", "serving", "report"},
    {"commands"},
)


def script(stage):
    return ROOT / "stages" / f"{stage}.py"


def declared(entries):
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def declared_parameters(stage):
    """Return the dotted names of all parameters that a stage declares, those of whole sections too."""
    names = declared(STAGES[stage].get("params", []))
    return {path for path in parameter_paths() for name in names if path == name or path.startswith(name + ".")}


def names(files):
    return {path.relative_to(ROOT).as_posix() for path in files}


def room_of(path):
    return path.relative_to(ROOT / "graft").parts[0] if len(path.relative_to(ROOT).parts) > 2 else None


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_script_of_its_name(stage):
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"
    assert script(stage).is_file()


def test_stages_holds_nothing_but_one_short_script_for_each_stage():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {"__init__", *STAGES}
    for stage in STAGES:
        assert len(script(stage).read_text(encoding="utf-8").splitlines()) <= 100, stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_its_script_and_each_folder_whose_code_it_can_reach_and_no_other(stage):
    code = {path for path in declared(STAGES[stage]["deps"]) if path.startswith(("graft/", "stages/"))}
    # graft/__init__.py has an import of graft.core and nothing else.
    expected = {path.parent for path in reached(script(stage))} - {ROOT / "stages", ROOT / "graft"}
    assert code == names(expected) | {f"stages/{stage}.py"}
    assert 2 <= len(expected) <= 8


def test_the_package_itself_only_fixes_the_environment():
    assert names(imports(ROOT / "graft/__init__.py")) == {"graft/core/environment.py"}
    assert len(tree(ROOT / "graft/__init__.py").body) == 2


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "resolve"])
def test_a_stage_declares_each_parameter_that_its_code_reads_and_no_other(stage):
    read = set().union(*(parameters_read(path) for path in reached(script(stage))))
    assert declared_parameters(stage) == read


def test_resolve_runs_on_a_change_of_any_parameter_but_lr():
    assert declared_parameters("resolve") == parameter_paths() - {"lr"}


def test_the_settings_of_predict_change_the_exported_file_and_nothing_before_it():
    reading = {stage for stage in STAGES if any(name.startswith("predict.") for name in declared_parameters(stage))}
    assert reading == {"resolve", "export"}


def test_every_parameter_is_declared_by_a_stage_or_read_by_the_gate():
    used = set().union(*(declared_parameters(stage) for stage in STAGES if stage != "resolve"))
    gate = {f"gate.{key}" for key in own_parameters.VALUES["gate"]}
    # `weights` reaches the other stages as the file that resolve writes.
    assert used | gate | {"weights"} == parameter_paths()


def test_each_stage_that_computes_depends_on_the_versions_of_what_computes():
    depending = {stage for stage in STAGES if "data/environment.json" in STAGES[stage]["deps"]}
    assert depending == set(STAGES) - {"resolve", "split"}


def test_only_the_links_that_resolve_makes_are_kept_out_of_the_run_cache():
    persistent = {
        stage
        for stage, entry in STAGES.items()
        for output in [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
        if isinstance(output, dict) and next(iter(output.values())).get("persist")
    }
    assert persistent == {"resolve"}


def test_dvc_can_keep_every_other_stage_in_its_run_cache():
    """It keeps none with an output outside of its cache that is no metric and no plot."""
    for stage in STAGES.values():
        for output in stage.get("outs", []):
            if isinstance(output, dict):
                (options,) = output.values()
                assert options.get("cache", True) or options.get("persist"), output


def test_the_pipeline_is_a_page_that_a_person_reads():
    assert len(PIPELINE.splitlines()) <= 180


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_from_floors_below_its_own(path):
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    used = {room_of(imported) for imported in imports(path)} - {room_of(path), None}
    here = floor.get(room_of(path), len(FLOORS))
    assert {room for room in used if floor[room] >= here} == set()


def test_the_rooms_are_at_most_twelve_and_each_says_its_purpose_in_its_init():
    assert {room.name for room in ROOMS} == set().union(*FLOORS)
    assert len(ROOMS) <= 12
    for room in ROOMS:
        assert (room / "__init__.py").read_text(encoding="utf-8").startswith('"""')


def test_no_modules_import_each_other_in_a_circle():
    graph = {path: imports(path) for path in [*MODULES, *map(script, STAGES)]}
    assert list(TopologicalSorter(graph).static_order())


def test_every_module_is_used_by_a_stage_or_a_command():
    entries = [ROOT / "graft/__init__.py", ROOT / "graft/__main__.py", *(ROOT / "graft/commands").glob("*.py")]
    starts = [*map(script, STAGES), *entries]
    used = set().union(*(reached(path) for path in starts))
    assert {path for path in set(MODULES) - used if path.name != "__init__.py"} == set()


def test_every_output_in_dvcs_cache_is_ignored_by_git_before_it_exists_and_no_other():
    """What is in neither git nor the cache, no clone has: `dvc status` would not be clean after `dvc pull`."""
    for stage in STAGES.values():
        for output in stage.get("outs", []):
            path, options = next(iter(output.items())) if isinstance(output, dict) else (output, {})
            folder, name = path.split("/")[:2]
            ignored = (ROOT / folder / ".gitignore").read_text(encoding="utf-8").split()
            assert (f"/{name}" in ignored) == options.get("cache", True), path
