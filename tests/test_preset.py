"""graft preset: a preset is a whole recipe, and changes only the lines of its keys in params.yaml."""

import difflib
import shutil
from pathlib import Path

import own_parameters
import pytest
import yaml
from clones import ROOT
from source_code import parameter_paths

from graft.__main__ import command
from graft.commands import preset
from graft.commands.experiments import parse_settings
from graft.commands.parameters_text import value_of, with_values
from graft.core.errors import GraftError
from graft.settings import params
from graft.settings.yaml_file import parse_yaml

PRESETS = yaml.safe_load((ROOT / "presets.yaml").read_text(encoding="utf-8"))
# What is not part of a recipe: the data, what a user wants of the machine, and what happens after training.
KEPT = [
    *("dataset", "dataset_sha256", "strict", "seed", "split", "display_names", "limits", "gate", "predict", "extract"),
    *("export.formats", "fine_tune.precision", "fine_tune.deterministic", "fine_tune.maps", "fine_tune.resume"),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with presets.yaml and a params.yaml as it ships, but with a comment of its own above each line."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "presets.yaml", "presets.yaml")
    lines = own_parameters.FILE.read_text(encoding="utf-8").splitlines()
    commented = "".join(f"# Comment {number}: x\n{line}\n" for number, line in enumerate(lines))
    Path("params.yaml").write_text(commented, encoding="utf-8")
    return Path("params.yaml")


def changed_lines(before, after):
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]


def is_kept(key):
    return any(key == kept or key.startswith(f"{kept}.") for kept in KEPT)


@pytest.mark.parametrize("name", PRESETS)
def test_params_yaml_takes_every_value_of_a_preset(name):
    params.load(own_parameters.FILE, preset.recipe(name, ROOT / "presets.yaml"))


def test_default_has_every_key_of_a_recipe_with_the_value_that_ships():
    settings = parse_settings(PRESETS["default"]["settings"])
    assert settings.keys() == {key for key in parameter_paths() if not is_kept(key)}
    for key, text in settings.items():
        assert parse_yaml(text, key) == value_of(own_parameters.VALUES, key), key


@pytest.mark.parametrize("name", PRESETS)
def test_after_default_params_yaml_has_its_bytes_of_before(files, name):
    before = files.read_bytes()
    command(["preset", name])
    assert (files.read_bytes() == before) == (name == "default")
    assert params.load(files) == params.load(files, preset.recipe(name))
    command(["preset", "default"])
    assert files.read_bytes() == before


def test_the_order_of_two_presets_does_not_matter(files):
    command(["preset", "scratch"])
    scratch = files.read_bytes()
    command(["preset", "inception-squeeze"])
    command(["preset", "scratch"])
    assert files.read_bytes() == scratch


def test_only_the_lines_of_the_changed_keys_change_and_each_is_printed(files, capsys):
    before = files.read_text(encoding="utf-8")
    capsys.readouterr()
    command(["preset", "quick"])
    assert changed_lines(before, files.read_text(encoding="utf-8")) == [
        "-   views: 10",
        "+   views: 0",
        "-   epochs: auto",
        "+   epochs: 0",
        "-   model: best_on_validation",
        "+   model: head",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "augment.views: 10 -> 0",
        "fine_tune.epochs: auto -> 0",
        "export.model: best_on_validation -> head",
        "next: dvc exp run -n quick, or dvc repro",
    ]
    command(["preset", "quick"])
    assert capsys.readouterr().out == "params.yaml has the values of quick already\n"


def test_the_data_set_and_the_split_stay(files):
    files.write_text(
        with_values(files.read_text(encoding="utf-8"), {"dataset": "photos/mine", "split.fold": "3"}, "params.yaml"),
        encoding="utf-8",
    )
    command(["preset", "scratch"])
    found = params.load()
    assert (found.dataset, found.split.fold, found.backbone) == ("photos/mine", 3, "simple_cnn")


def test_without_a_name_every_preset_is_listed_with_what_it_is(files, capsys):
    capsys.readouterr()
    before = files.read_bytes()
    command(["preset"])
    assert [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()] == [
        [name, value["about"]] for name, value in PRESETS.items()
    ]
    assert files.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What `dvc exp run -S 'head.widths=[8,4]'` writes.
        ("a:\n  widths:\n  - 8\n  - 4\n  # of b\n  b: 1\n", "a:\n  widths: [2]\n  # of b\n  b: 1\n"),
        ("a:\n  widths: []  # units\n", "a:\n  widths: [2]  # units\n"),
        ("a:\n  widths:\n  # of b\n  b: 1\n", "a:\n  widths: [2]\n  # of b\n  b: 1\n"),
        ("a:\n  widths: [8,\n    4]\n", "a:\n  widths: [2]\n"),
        ("a:\r\n  widths: [8]\r\n  b: 1\r\n", "a:\r\n  widths: [2]\r\n  b: 1\r\n"),
        ("a: {widths: [8], b: 1}", "a: {widths: [2], b: 1}"),
        ("a:\n  'widths' : 8", "a:\n  'widths' : [2]"),
        ("widths: 1\na:\n  b:\n    widths: 3\n  widths: 8\n", "widths: 1\na:\n  b:\n    widths: 3\n  widths: [2]\n"),
    ],
)
def test_a_value_is_replaced_however_it_is_written(text, expected):
    assert with_values(text, {"a.widths": "[2]"}, "x.yaml") == expected


def test_an_empty_value_leaves_the_key_alone_and_several_keys_change_at_once():
    assert with_values("a: 1 # one\nb:\nc: 3\n", {"a": "", "c": "long text", "b": "2"}, "x.yaml") == (
        "a: # one\nb: 2\nc: long text\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &one 1\nb: *one\n", r"^x\.yaml: a is not on a line of its own; write `a: 2` there$"),
        ("b: 1\n", r"^x\.yaml: the key a is missing; "),
        ("- a\n", r"^x\.yaml: the key a is missing; "),
        ("a: [\n", r"^x\.yaml: not YAML: "),
    ],
)
def test_a_text_in_which_a_value_cannot_be_changed_alone_is_refused(text, message):
    with pytest.raises(GraftError, match=message):
        with_values(text, {"a": "2"}, "x.yaml")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("quik", {}, r"^presets\.yaml: no preset is called 'quik'; did you mean 'quick'\?"),
        (
            "quick",
            {"quick": {"about": "x", "settings": ["fine_tune.epoch=1"]}},
            r"quick: fine_tune\.epoch is not set by",
        ),
        ("quick", {"quick": {"about": "x", "settings": ["fine_tune.epochs"]}}, r"not of the form KEY=VALUE"),
        ("quick", {"quick": {"about": "x", "settings": ["fine_tune.epochs=-1"]}}, r"^params\.yaml: fine_tune\.epochs"),
        ("quick", {"quick": {"about": "x"}}, r"^presets\.yaml: quick\.settings: "),
        ("quick", {"default": None}, r"^presets\.yaml: default: "),
    ],
)
def test_a_preset_that_cannot_be_used_is_one_line_and_changes_nothing(files, name, change, message):
    before = files.read_bytes()
    Path("presets.yaml").write_text(yaml.safe_dump(PRESETS | change, sort_keys=False), encoding="utf-8")
    with pytest.raises(GraftError, match=message) as error:
        command(["preset", name])
    assert "\n" not in str(error.value)
    assert files.read_bytes() == before


def test_without_presets_or_the_default_one_line_says_so(files):
    Path("presets.yaml").write_text("quick: {}\n")
    with pytest.raises(GraftError, match=r"^presets\.yaml: it has no preset `default`; `git checkout presets\.yaml`"):
        command(["preset"])
    Path("presets.yaml").unlink()
    with pytest.raises(GraftError, match=r"^presets\.yaml: no such file"):
        command(["preset"])
