"""docs/experiments.md: every command on the page works, and params.yaml takes every setting."""

import argparse
import itertools
import json
import re
import shlex
import shutil

import own_parameters
import pytest
import yaml
from clones import ROOT, Clone, experiments, wait_for

from graft.commands import predict, preset, study
from graft.commands.experiments import parse_settings
from graft.settings import backbone_table, datasets, params
from graft.settings.resolved import image_size

PAGE = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
STUDIES = yaml.safe_load((ROOT / "studies.yaml").read_text(encoding="utf-8"))
PRESETS = preset.read_presets(ROOT / "presets.yaml")
# How the page writes paths of the reader's own images and files.
OWN = "/path/to/"
# Before the name of an experiment that a test runs a second time.
AGAIN = "again-"
# Pixels that every backbone of the page takes; InceptionV3 needs the most.
SMALL_SIZE, SMALL_CNN_SIZE = 80, 32


def command_lines(block: str) -> list[str]:
    """Return the commands of a block, each on a line."""
    return block.replace("\\\n", " ").splitlines()


BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in command_lines(block)]


EXPERIMENT = argparse.ArgumentParser("dvc exp run", allow_abbrev=False)
EXPERIMENT.add_argument("--queue", action="store_true")
EXPERIMENT.add_argument("-n", dest="name", required=True)
EXPERIMENT.add_argument("-S", dest="settings", action="append", required=True)


def grid(settings: dict[str, str]) -> list[dict[str, str]]:
    """Return the settings of each experiment of a sweep: a list of values without brackets is one for each."""
    values = [[text] if text[:1] in ("[", "{") else text.split(",") for text in settings.values()]
    return [dict(zip(settings, chosen, strict=True)) for chosen in itertools.product(*values)]


def recipe_of(name: str) -> dict[str, str]:
    """Return the recipe of the preset that the page writes into params.yaml before the experiment of this name."""
    name = name.removeprefix(AGAIN)
    return preset.recipe(name, ROOT / "presets.yaml") if name in PRESETS else {}


def parameters_of(arguments: list[str]) -> list[params.Parameters]:
    """Return the parameters of each experiment of a `dvc exp run` with these arguments."""
    found = EXPERIMENT.parse_args(arguments)
    settings = parse_settings(found.settings)
    assert len(settings) == len(found.settings), "a key is set twice"
    chosen = grid(settings)
    assert found.queue or len(chosen) == 1, "a list of values needs --queue"
    return [params.load(own_parameters.FILE, recipe_of(found.name) | changes) for changes in chosen]


def check_experiment(arguments: list[str]) -> None:
    for parameters in parameters_of(arguments):
        image_size(parameters.image_size, parameters.dataset, parameters.backbone)
        assert parameters.dataset in datasets.entries() or parameters.dataset.startswith(OWN)
        assert parameters.weights in ("imagenet", "none") or parameters.weights.startswith(OWN)


def check_queue(arguments: list[str]) -> None:
    assert arguments == ["start"]


def parsed(command: object, arguments: list[str]) -> argparse.Namespace:
    """Return the arguments of a module of graft.commands as it takes them."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def check_preset(arguments: list[str]) -> None:
    assert parsed(preset, arguments).name in PRESETS


def check_study(arguments: list[str]) -> None:
    assert parsed(study, arguments).name in STUDIES


def check_prediction(arguments: list[str]) -> None:
    found = parsed(predict, arguments)
    assert found.backbone is None or backbone_table.get(found.backbone).published


# By the first words of a command, what checks its other words.
CHECKS = {
    "dvc exp run": check_experiment,
    "dvc queue": check_queue,
    "graft preset": check_preset,
    "graft study": check_study,
    "graft predict": check_prediction,
}


def split_command(line: str) -> tuple[str, list[str]]:
    """Return the first words of a command, a key of `CHECKS`, and its other words."""
    start = next(start for start in CHECKS if line.startswith(f"{start} "))
    return start, shlex.split(line.removeprefix(start))


def lines_of(start: str) -> list[str]:
    """Return the commands of the page with these first words."""
    return [line for line in LINES if split_command(line)[0] == start]


EXPERIMENTS = {
    found.name: found for found in (EXPERIMENT.parse_args(split_command(line)[1]) for line in lines_of("dvc exp run"))
}


def own_settings(name: str) -> dict[str, object]:
    """Return what the experiment of this name sets, in its preset and on the page: numbers as numbers, else text."""
    settings = parse_settings(PRESETS[name].settings) | parse_settings(EXPERIMENTS[name].settings)
    return {key: value_of(text) for key, text in settings.items()}


def value_of(text: str) -> object:
    return float(text) if re.fullmatch(r"[\d.]+(e-\d+)?", text) else text


def values_of(texts: list[str]) -> dict[str, object]:
    return {key: value_of(text) for key, text in parse_settings(texts).items()}


@pytest.mark.parametrize("line", LINES, ids=lambda line: re.split(" -S|[\"']", line)[0])
def test_every_command_is_one_that_graft_takes(line):
    start, arguments = split_command(line)
    CHECKS[start](arguments)


def test_a_sweep_is_every_pair_of_values_and_lists_in_brackets_are_one():
    found = grid({"lr": "1,2", "seed": "0,1", "head.widths": "[8,4]"})
    assert [tuple(one.values()) for one in found] == [
        ("1", "0", "[8,4]"),
        ("1", "1", "[8,4]"),
        ("2", "0", "[8,4]"),
        ("2", "1", "[8,4]"),
    ]


def test_every_experiment_has_a_name_of_its_own_and_a_row_of_the_table():
    assert len(EXPERIMENTS) == len(lines_of("dvc exp run"))
    for name, found in EXPERIMENTS.items():
        assert found.queue or f"| `{name}` |" in PAGE


def test_every_block_writes_the_preset_of_its_experiments_name_before_it_runs():
    for block in BLOCKS:
        if (found := re.search(r"^dvc exp run -n (\S+)", block, re.MULTILINE)) and "--queue" not in block:
            assert block.startswith(f"graft preset {found[1]}\n")


def test_every_preset_but_default_has_a_block():
    assert {line.split()[-1] for line in lines_of("graft preset")} == PRESETS.keys() - {"default"}


def test_every_variant_of_the_augmentation_study_has_a_row():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(STUDIES["augmentation"]["variants"])


def test_the_network_of_the_augmentation_study_is_the_one_from_scratch():
    settings = own_settings("scratch")
    # A study of many runs writes no logs.
    assert settings.pop("fine_tune.tensorboard") == "true"
    # The variant `none` sets it.
    assert settings.pop("augment.views") == values_of(STUDIES["augmentation"]["variants"]["none"])["augment.views"]
    assert settings.items() <= values_of(STUDIES["augmentation"]["settings"]).items()


@pytest.mark.parametrize("name", STUDIES["flower_photos"]["variants"])
def test_the_networks_of_the_flower_photos_study_are_those_of_the_page(name):
    networks = STUDIES["flower_photos"]
    of_page = own_settings(name)
    logs = {"head.tensorboard", "fine_tune.tensorboard"}
    assert values_of(networks["settings"] + networks["variants"][name]) == {
        key: value for key, value in of_page.items() if key not in logs
    }


def smaller(parameters: params.Parameters) -> dict[str, object]:
    """Return settings that make an experiment of the page small enough for a test, by dotted key."""
    return {
        "dataset": "../photos",
        "weights": "none",
        "image_size": SMALL_CNN_SIZE if parameters.backbone == "simple_cnn" else SMALL_SIZE,
        "split.validation": 0.25,
        "head.epochs": 1,
        "head.views": min(parameters.head.views, 1),
        "augment.views": min(parameters.augment.views, 1),
        "fine_tune.epochs": int(parameters.fine_tune.epochs != 0),
    }


def variant_parameters(of_study: dict, texts: list[str]) -> params.Parameters:
    """Return the parameters of a variant of a study."""
    return params.load(own_parameters.FILE, parse_settings(of_study["settings"] + texts))


def shrunk(line: str) -> str:
    """Return a command of the page as a test can run it: of this checkout, on small images, without a network."""
    start, arguments = split_command(line)
    if start == "dvc exp run":
        changes = smaller(parameters_of(arguments)[0])
        return line + "".join(f" -S {key}={value}" for key, value in changes.items())
    # Only the weights of EfficientNetLite are installed. The script `graft` may belong to another checkout.
    line = re.sub(r"--backbone \w+", "--backbone EfficientNetLite0", line)
    return re.sub(r"^graft ", "python -m graft ", line)


@pytest.fixture(scope="module")
def reader(tmp_path_factory, write_image_folder):
    """A clone with a reader's own images."""
    clone = Clone.of_working_files(tmp_path_factory.mktemp("reader"))
    write_image_folder(clone.photos, count=12)
    shutil.copytree(clone.photos / "red", clone.path / "photos")
    shutil.copy2(clone.photos / "red/000.jpg", clone.path / "photo.jpg")
    return clone


@pytest.fixture
def page(reader):
    """The reader's clone with the committed params.yaml and studies.yaml, as before each block of the page."""
    reader.git("checkout", "--quiet", "--", "params.yaml", "studies.yaml")
    return reader


def run_block(clone: Clone, block: str) -> str:
    script = "\n".join(shrunk(line) for line in command_lines(block))
    return clone.run("bash", "-e", "-c", script, GRAFT_STORE=str(clone.folder / "store"))


def blocks_with(word: str, quick: str = "no block", but: str = "none of them") -> list[object]:
    """Return the blocks with a word in them as cases of a test, slow but for those with the word `quick`."""
    return [
        pytest.param(block, marks=() if re.search(quick, block) else pytest.mark.slow, id=block.splitlines()[0])
        for block in BLOCKS
        if re.search(word, block) and but not in block
    ]


def figures(clone: Clone, name: str, file: str) -> dict:
    return json.loads(clone.git("show", f"{experiments(clone)[name]}:metrics/{file}"))


# Each takes half a minute.
@pytest.mark.parametrize("block", blocks_with("dvc exp run", but="--queue"))
def test_an_experiment_runs_and_exports_what_it_is_about(page, block):
    run_block(page, block)
    name = re.search(r"-n (\S+)", block)[1]
    settings = recipe_of(name)
    exported = figures(page, name, "export.json")["exported"]
    assert exported == settings["export.model"] or settings["export.model"] == "best_on_validation"
    assert figures(page, name, "accuracy.json")["images"] > 0
    logged = "true" in (settings.get("head.tensorboard"), settings.get("fine_tune.tensorboard"))
    assert (page.path / "logs" / name).exists() == logged


@pytest.mark.parametrize("block", blocks_with("--queue"))
def test_a_sweep_is_an_experiment_for_each_value(page, block):
    run_block(page, block)
    name = re.search(r"-n (\S+)", block)[1]
    names = {f"{name}-{number}" for number in (1, 2, 3)}
    wait_for(page, names)
    for name in names:
        assert figures(page, name, "accuracy.json")["images"] > 0


@pytest.mark.parametrize("block", blocks_with("graft study"))
def test_a_study_is_run_and_ranked(page, block):
    name = re.search(r"graft study (\w+)", block)[1]
    studies = yaml.safe_load((page.path / "studies.yaml").read_text(encoding="utf-8"))
    small = studies[name]
    small["over"] = {"seed": [0]}
    small["variants"] = {
        variant: texts + [f"{key}={value}" for key, value in smaller(variant_parameters(small, texts)).items()]
        for variant, texts in itertools.islice(small["variants"].items(), 2)
    }
    (page.path / "studies.yaml").write_text(yaml.safe_dump(studies, sort_keys=False), encoding="utf-8")
    run_block(page, block)
    rows = (page.path / f"metrics/studies/{name}.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == set(small["variants"])


@pytest.mark.parametrize("block", blocks_with("--imagenet", r" photo\.jpg"))
def test_photos_are_named_by_a_pretrained_network(page, block):
    printed = run_block(page, block)
    assert re.search(r"^photos?(/\w+)?\.(jpg|png): .+ \d+\.\d%", printed, re.MULTILINE)


@pytest.mark.parametrize("block", blocks_with("graft predict", but="--imagenet"))
def test_photos_are_named_by_the_retrained_network(page, block):
    (experiment,) = (block for block in BLOCKS if " -n scratch " in block)
    run_block(page, experiment.replace(" -n ", f" -n {AGAIN}"))
    printed = run_block(page, block)
    assert len(printed.splitlines()) == len(list((page.path / "photos").iterdir()))
