"""Damaged files of others: each input that fuzzing has found ends in a result or in one line."""

import pytest
from fuzz.targets import CORPUS, TARGETS, read

INPUTS = [path for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize("path", INPUTS, ids=[f"{path.parent.name}/{path.name}" for path in INPUTS])
def test_every_input_of_the_corpus_ends_in_a_result_or_one_line(path, tmp_path):
    read(path.parent.name, path.read_bytes(), tmp_path / "work")
