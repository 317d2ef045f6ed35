"""The pages that a person reads: their links lead somewhere, and their commands and settings exist."""

import re
import shlex
from argparse import ArgumentParser
from importlib import import_module

import own_parameters
import pytest
from clones import ROOT
from PIL import Image
from source_code import parameter_paths

from graft.__main__ import COMMANDS
from graft.commands.experiments import parse_settings
from graft.settings import params

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND_PAGES = [README, (ROOT / "docs/from-keras.md").read_text(encoding="utf-8")]
FROM_KERAS = COMMAND_PAGES[1]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def lines_of_blocks(page, start):
    """Return the commands in the blocks of a page that start with a word, without their comments."""
    blocks = re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{start} ")]


def anchors(page):
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_a_page_with_a_picture_near_its_top_that_loads_quickly():
    lines = README.splitlines()
    assert len(lines) <= 120
    ((place, name),) = [
        (number, found[1]) for number, line in enumerate(lines) if (found := re.match(r"!\[.+\]\((.+)\)$", line))
    ]
    assert place < 10
    assert (ROOT / name).stat().st_size < 200_000
    with Image.open(ROOT / name) as picture:
        assert picture.width > 2 * 600


@pytest.mark.parametrize("line", [line for page in COMMAND_PAGES for line in lines_of_blocks(page, "graft")])
def test_graft_takes_every_command(line):
    _, name, *arguments = shlex.split(line)
    assert name in COMMANDS
    parser = ArgumentParser()
    import_module(f"graft.commands.{name}").add_arguments(parser)
    parser.parse_args(arguments)


@pytest.mark.parametrize("line", [line for page in COMMAND_PAGES for line in lines_of_blocks(page, "dvc exp run")])
def test_params_yaml_takes_every_setting(line):
    words = shlex.split(line)
    params.load(own_parameters.FILE, parse_settings(words[words.index("-S") + 1 :: 2]))


def test_the_makefile_has_every_target_of_the_readme():
    named = {line.split()[1] for line in lines_of_blocks(README, "make")} | set(re.findall(r"`make ([a-z-]+)", README))
    assert named
    assert named <= set(TARGETS)


def test_the_readme_names_every_stage_and_every_folder_of_the_library():
    tree = README[README.index("## The tree") :]
    for path in [*(ROOT / "stages").glob("*.py"), *(ROOT / "graft").glob("*/")]:
        if not path.name.startswith("__"):
            assert re.search(rf"\b{path.stem}\b", tree), path


def test_every_key_on_the_page_for_keras_users_is_one_of_params_yaml():
    known = parameter_paths() | {path.rsplit(".", 1)[0] for path in parameter_paths()}
    rows = [line.split(" | ")[1] for line in FROM_KERAS.splitlines() if line.startswith("| `")]
    sections = {path.split(".")[0] for path in known if "." in path}
    keys = {key for row in rows for key in re.findall(r"`([a-z_]+\.[a-z_0-9]+)[`:]", row)}
    assert len(keys) > 15
    assert {key for key in keys if key.split(".")[0] in sections} - known == set()
    plain = {key for row in rows for key in re.findall(r"`([a-z_0-9]+): [^`]+`", row)}
    assert plain - parameter_paths() == set()


def test_every_document_is_linked_from_the_readme_or_from_a_page_that_is():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for link in re.findall(r"\]\(([^)\s#]+\.md)", page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if not re.match(r"https?:", link) and target.exists() and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert set(PAGES) - reached <= {ROOT / "README.md"}


def test_nobody_is_told_to_install_graft_from_a_package_index_where_that_name_is_another_project():
    texts = [*PAGES, *(ROOT / "graft").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    named = re.compile(r"pip install [^\n`]*\bgraft(\[|\b(?!/))")
    assert [path.name for path in texts if named.search(path.read_text(encoding="utf-8"))] == []
