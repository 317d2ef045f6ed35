"""Class names in any script: drawn where a common font has their characters, and replaced where none has."""

import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from graft.report import figures, fonts

# No font has it: it is for private use, the last character there is (plane 16).
NOWHERE = "\U0010fffd"


def characters_of(family):
    return set(map(chr, FT2Font(fontManager.findfont(family)).get_charmap()))


@pytest.fixture
def rare_character():
    """A character of the second of the fonts that matplotlib brings, which the first one lacks."""
    return min(characters_of("STIXGeneral") - characters_of("DejaVu Sans"))


def draw_without_warning(path, names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.confusion(path, np.eye(len(names), dtype=int), names)


def test_usual_names_are_drawn_by_the_font_that_matplotlib_brings(tmp_path, capsys):
    names = ["Gänseblümchen", "ромашка"]
    with fonts.class_names(names, ["daisy", "camomile"]) as drawn:
        assert drawn == names
        draw_without_warning(tmp_path / "a.png", drawn)
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"]}):
        draw_without_warning(tmp_path / "b.png", names)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert capsys.readouterr().err == ""


def test_a_long_name_is_cut_so_that_the_figure_has_room(tmp_path, capsys):
    with fonts.class_names(["a" * 200, "b"], ["a", "b"]) as drawn:
        assert drawn == ["a" * 33 + "...", "b"]
    assert capsys.readouterr().err == ""


def test_a_character_that_the_first_font_lacks_is_drawn_by_another(tmp_path, rare_character, capsys):
    with fonts.class_names([rare_character * 3, "b"], ["a", "b"]) as drawn:
        assert drawn == [rare_character * 3, "b"]
        draw_without_warning(tmp_path / "a.png", drawn)
    assert capsys.readouterr().err == ""


def test_fonts_that_are_not_installed_are_left_out(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(fonts, "FAMILIES", ("DejaVu Sans", "No Such Font"))
    with fonts.class_names(["a"], ["a"]) as drawn:
        draw_without_warning(tmp_path / "a.png", drawn)
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans"]
    assert caplog.records == []


def test_a_name_that_no_font_can_draw_is_replaced_by_its_label_and_a_line_says_so(tmp_path, capsys):
    with fonts.class_names([NOWHERE, "roses"], ["daisy", "r"]) as drawn:
        assert drawn == ["daisy", "roses"]
        draw_without_warning(tmp_path / "a.png", drawn)
    message = capsys.readouterr().err
    assert message == f"warning: no font has all characters; the figures show {NOWHERE} as daisy\n"


def test_where_the_label_cannot_be_drawn_either_the_number_of_the_class_is(capsys):
    with fonts.class_names(["a", NOWHERE], ["a", NOWHERE]) as drawn:
        assert drawn == ["a", "class 1"]
    assert capsys.readouterr().err.count("\n") == 1


def test_fonts_are_as_before_when_the_block_ends():
    before = list(matplotlib.rcParams["font.family"])
    with fonts.class_names(["a"], ["a"]):
        assert list(matplotlib.rcParams["font.family"]) != before
    assert list(matplotlib.rcParams["font.family"]) == before
