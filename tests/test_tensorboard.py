"""Logs for TensorBoard: where they go, and that the package is asked for before anything runs."""

import re
from pathlib import Path

import pytest

from graft.core import tensorboard
from graft.core.errors import GraftError


def test_an_experiments_log_has_its_name_and_lies_in_the_repository_itself(monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "/repository")
    monkeypatch.setenv("DVC_EXP_NAME", "daring-moth")
    assert tensorboard.log_folder("fine_tune") == Path("/repository/logs/daring-moth/fine_tune")


def test_without_an_experiment_it_has_the_time_for_a_name(monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert re.fullmatch(
        r"logs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d/train_head", tensorboard.log_folder("train_head").as_posix()
    )


def test_a_missing_package_is_one_line_with_the_key_and_what_to_do(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r"^head\.tensorboard: the package tensorboard is not installed; set it to f"):
        tensorboard.require("head.tensorboard")
