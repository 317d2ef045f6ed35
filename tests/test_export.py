"""Stage export: what the classes are to be called."""

import pytest

from stages import export

LABELS = ["daisy", "roses", "tulips"]


@pytest.mark.parametrize("setting", [None, {}])
def test_without_a_setting_no_class_has_another_name(setting):
    assert export.display_names(setting, LABELS) == {}


def test_names_are_given_to_some_or_all_classes_in_the_order_of_the_labels(capsys):
    found = export.display_names({"tulips": "郁金香", "daisy": "雏菊"}, LABELS)
    assert list(found.items()) == [("daisy", "雏菊"), ("tulips", "郁金香")]
    assert capsys.readouterr().err == ""


def test_a_name_for_a_class_that_there_is_not_is_told_and_left_out(capsys):
    assert export.display_names({"dasy": "雏菊", "roses": "玫瑰"}, LABELS) == {"roses": "玫瑰"}
    message = capsys.readouterr().err
    assert message == "warning: display_names: no class is called 'dasy'; did you mean 'daisy'?\n"
