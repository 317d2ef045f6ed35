"""Class names in any script: drawn where an installed font has their letters, and replaced by one that can be drawn."""

import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from graft.report import figures, fonts

# No font that a test could rely on has it: a letter of a script of one's own (private use, plane 16).
NOWHERE = "\U0010fffd"


def letters_of(family):
    return set(map(chr, FT2Font(fontManager.findfont(family)).get_charmap()))


@pytest.fixture
def rare_letter():
    """A letter that a font of matplotlib's own has, and its first one has not."""
    return min(letters_of("STIXGeneral") - letters_of(fonts.FIRST))


def drawn_without_warning(path, names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.confusion(path, np.eye(len(names), dtype=int), names)


def test_usual_names_need_no_other_font(tmp_path, capsys):
    with fonts.lettered(["Gänseblümchen", "ромашка"], ["daisy", "camomile"]) as names:
        assert names == ["Gänseblümchen", "ромашка"]
        assert matplotlib.rcParams["font.family"] == [fonts.FIRST]
    assert capsys.readouterr().err == ""


def test_a_letter_that_the_first_font_lacks_comes_from_another(tmp_path, rare_letter, capsys):
    with fonts.lettered([rare_letter * 3, "b"], ["a", "b"]) as names:
        assert names == [rare_letter * 3, "b"]
        drawn_without_warning(tmp_path / "a.png", names)
    assert capsys.readouterr().err == ""


def test_no_more_fonts_are_taken_than_are_needed(rare_letter):
    families, missing = fonts.covering({"a", rare_letter})
    assert len(families) == 2
    assert missing == set()


def test_where_no_font_has_the_letters_the_label_is_shown_and_a_line_says_so(tmp_path, capsys):
    with fonts.lettered([NOWHERE, "roses"], ["daisy", "r"]) as names:
        assert names == ["daisy", "roses"]
        drawn_without_warning(tmp_path / "a.png", names)
    message = capsys.readouterr().err
    assert message == f"warning: no installed font has all letters; the figures show {NOWHERE} as daisy\n"


def test_where_the_label_cannot_be_shown_either_the_number_stands_for_it(capsys):
    with fonts.lettered(["a", NOWHERE], ["a", NOWHERE]) as names:
        assert names == ["a", "class 1"]
    assert capsys.readouterr().err.count("\n") == 1


def test_fonts_are_as_before_when_the_block_ends(rare_letter):
    before = list(matplotlib.rcParams["font.family"])
    with fonts.lettered([rare_letter], ["a"]):
        pass
    assert list(matplotlib.rcParams["font.family"]) == before
