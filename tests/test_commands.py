"""The command `graft`: its help, what it says to an unknown command, and readers that stop early."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from graft.__main__ import COMMANDS, command
from graft.core.errors import GraftError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_help_lists_every_command_and_an_example(arguments, capsys):
    assert not command(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: graft COMMAND ..."
    for name, description in COMMANDS.items():
        assert any(line.split() == [name, *description.split()] for line in lines)
    assert lines[-2] == "example:"
    assert lines[-1].split()[:2] == ["graft", "predict"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_says_what_it_does_and_shows_an_example(name, capsys):
    assert command([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: graft {name} ")
    assert COMMANDS[name] in text
    assert f"\nexample:\n  graft {name}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_accepted_by_its_command(name, monkeypatch, capsys):
    module = import_module(f"graft.commands.{name}")
    monkeypatch.setattr(module, "main", lambda parsed: 0)
    _, *arguments = module.EXAMPLE.split()
    assert command(arguments) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "hint"), [("crosval", r"did you mean 'crossval'\?"), ("x", "known: benchmark, crossval, demo, export, ")]
)
def test_an_unknown_command_is_refused_with_the_nearest(name, hint):
    with pytest.raises(GraftError, match=f"^graft has no command '{name}'; {hint}"):
        command([name])


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_argument_is_refused_with_status_2(name, capsys):
    assert command([name, "--no-such-argument"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"usage: graft {name} ")
    assert "error:" in error.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["report", "--against=--"], ["predict", "--sort=--", "photo.jpg"]])
def test_two_dashes_are_no_value_of_an_option(arguments):
    with pytest.raises(GraftError, match=f"^{arguments[1]}: no value"):
        command(arguments)


def test_the_status_and_the_line_of_a_mistake_are_those_of_the_process(run_python):
    done = run_python("-m", "graft", "crosval")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: graft has no command 'crosval'; did you mean 'crossval'?\n"
    assert run_python("-m", "graft", "predict").returncode == 2
    assert run_python("-m", "graft", "--help").returncode == 0


# The help of each command is printed in the same way.
@pytest.mark.parametrize(
    "arguments",
    ["--help", "store size", "gate", *(pytest.param(f"{name} --help", marks=pytest.mark.slow) for name in COMMANDS)],
)
def test_a_reader_that_stops_early_is_no_error(arguments, tmp_path):
    # The reader ends at once, so that nothing of what is printed can be written.
    script = f"'{sys.executable}' -m graft {arguments} | true; exit ${{PIPESTATUS[0]}}"
    # With a buffer, as usual: Python writes it at the very end, and would complain there.
    variables = os.environ | {"PYTHONPATH": str(ROOT), "GRAFT_STORE": str(tmp_path / "store"), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=variables, check=False)
    assert (done.returncode, done.stderr) == (1, "")
