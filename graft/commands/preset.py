"""graft preset: write the recipe of a preset of presets.yaml into params.yaml, or list the presets.

A preset is a whole recipe: where it sets no value, that of the preset `default` counts. So the order of presets does
not matter, and `graft preset default` goes back.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graft.commands.experiments import parse_settings
from graft.commands.parameters_text import value_of, with_values
from graft.core import paths
from graft.core.errors import GraftError, nearest
from graft.core.files import write_text
from graft.settings import params
from graft.settings.yaml_file import parse_yaml, read_yaml

EXAMPLE = "graft preset quick"
DEFAULT = "default"


class Preset(BaseModel):
    """A recipe.

    Attributes
    ----------
    about : what it is, in a line.
    settings : texts KEY=VALUE.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: Annotated[str, Field(min_length=1)]
    settings: list[str]


def read_presets(path: Path = paths.PRESETS) -> dict[str, Preset]:
    """Return the presets by name.

    Raises
    ------
    GraftError
        If the file is missing or not as it must be.
    """
    values = read_yaml(path)
    if not isinstance(values, dict) or DEFAULT not in values:
        raise GraftError(f"{path}: it has no preset `{DEFAULT}`; `git checkout {path}` brings it back")
    presets = {}
    for name, value in values.items():
        try:
            presets[name] = Preset.model_validate(value)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join([name, *map(str, fault["loc"])])
            raise GraftError(f"{path}: {key}: {fault['msg']}") from error
    return presets


def recipe(name: str, path: Path = paths.PRESETS) -> dict[str, str]:
    """Return every value of a preset as text by dotted key, those of `default` too.

    Raises
    ------
    GraftError
        If there is no such preset, it sets a key that `default` does not set, or the file is not as it must be.
    """
    presets = read_presets(path)
    if name not in presets:
        raise GraftError(f"{path}: no preset is called {name!r}; {nearest(name, presets)}")
    default, own = (parse_settings(presets[each].settings) for each in (DEFAULT, name))
    if unknown := own.keys() - default.keys():
        key = min(unknown)
        raise GraftError(f"{path}: {name}: {key} is not set by `{DEFAULT}`; {nearest(key, default)}")
    return default | own


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft preset`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a preset of presets.yaml; without it, list them")


def main(arguments: Namespace) -> None:
    """Write the preset's values into params.yaml and print which have changed; without a name list the presets."""
    if arguments.name is None:
        presets = read_presets()
        width = max(map(len, presets)) + 2
        for name, preset in presets.items():
            print(f"{name:{width}}{preset.about}")
        return
    wanted = recipe(arguments.name)
    params.load(changes=wanted)
    # Not read_text, which changes line ends.
    text = paths.PARAMETERS.read_bytes().decode("utf-8")
    before = parse_yaml(text, str(paths.PARAMETERS))
    changes = {key: value for key, value in wanted.items() if parse_yaml(value, key) != value_of(before, key)}
    if not changes:
        print(f"{paths.PARAMETERS} has the values of {arguments.name} already")
        return
    write_text(paths.PARAMETERS, with_values(text, changes, str(paths.PARAMETERS)))
    for key, value in changes.items():
        print(f"{key}: {_shown(value_of(before, key))} -> {value or 'empty'}")
    print(f"next: dvc exp run -n {arguments.name}, or dvc repro")


def _shown(value: object) -> str:
    return "empty" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
