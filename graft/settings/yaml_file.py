"""Reads YAML files, and says in one line what is wrong with one."""

import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from graft.core.errors import GraftError

TEXT, MERGE, PLAIN_KEY = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", "!plain-key"
# Text in YAML 1.2, which DVC reads; PyYAML reads YAML 1.1, where these are true and false.
TEXT_OF_DVC = re.compile("y|n|yes|no|on|off", re.IGNORECASE)
# Numbers in YAML 1.2, but text in YAML 1.1.
NUMBER_OF_DVC = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+|0o[0-7]+", re.IGNORECASE)
LONGEST_QUOTE = 60


class PlainKey(str):
    """A key without quotes that DVC does not take for text: a number, a date, true, false or null."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, but all keys are the text that stands in the file, and no key may be there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen, pairs = set(), node.value if isinstance(node, yaml.MappingNode) else []
        for key in (key for key, _ in pairs if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise ConstructorError(problem=f"the key {key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
            if key.tag not in (TEXT, MERGE):
                key.tag = TEXT if TEXT_OF_DVC.fullmatch(key.value) else PLAIN_KEY
            elif key.style is None and NUMBER_OF_DVC.fullmatch(key.value):
                key.tag = PLAIN_KEY
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            # PyYAML does not expect `0x_`, `2024-13-45` or `!!int abc`.
            raise ConstructorError(problem=f"no value ({error})", problem_mark=node.start_mark) from error


_Loader.add_constructor(PLAIN_KEY, lambda loader, node: PlainKey(node.value))


def parse_yaml(text: str, source: str) -> object:
    """Return the value of a YAML text; keys are text, those that are not text for DVC `PlainKey`.

    Parameters
    ----------
    text : the YAML.
    source : the file or key that it comes from, for the error message.

    Raises
    ------
    GraftError
        If it is not YAML, or has a key twice.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason, line = error.problem or error.context, mark.line if mark else 0
    except yaml.reader.ReaderError as error:
        reason, line = f"it has the character U+{error.character:04X}", text.count("\n", 0, error.position)
    except RecursionError as error:
        raise GraftError(f"{source}: not YAML: too many brackets or lists inside each other") from error
    quoted = "".join(text.splitlines()[line : line + 1]).strip()
    shortened = quoted if len(quoted) <= LONGEST_QUOTE else f"{quoted[:LONGEST_QUOTE]}..."
    raise GraftError(f"{source}: not YAML: line {line + 1}, `{shortened}`: {' '.join(str(reason).split())}")


def read_yaml(path: str | Path) -> object:
    """Return the value of a YAML file, as `parse_yaml` does.

    Raises
    ------
    GraftError
        If the file is missing, cannot be read, is not UTF-8 or not YAML, or has a key twice.
    """
    try:
        # Others may have no end.
        if not stat.S_ISREG(Path(path).stat().st_mode) and not Path(path).is_dir():
            raise GraftError(f"{path}: not a file that can be read (a pipe or a device)")
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise GraftError(f"{path}: no such file; run in the folder that holds it") from error
    except OSError as error:
        raise GraftError(f"{path}: not a file that can be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise GraftError(f"{path}: not YAML: not UTF-8; save it as UTF-8") from error
    return parse_yaml(text, str(path))
