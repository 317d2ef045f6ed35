"""Wrong labels through the real dvc: found by `dvc repro`, corrected by `graft relabel`, and the way back."""

import csv
import sys

import pytest
from clones import ran

from graft.core.files import read_rows, write_rows


# The next test is a shorter one; test_relabel.py has corrections of every kind, and taken back.
@pytest.mark.slow
def test_a_wrong_label_is_found_corrected_and_the_correction_undone(clone):
    (clone.photos / "red/001.png").rename(clone.photos / "green/wrong.png")
    clone.dvc("repro")
    clone.commit("A wrong label")
    before = clone.outputs()
    suspects = clone.path / "metrics/suspects.csv"
    rows = read_rows(suspects)
    place = next(place for place, row in enumerate(rows) if row["path"] == "green/wrong.png")
    rows[place]["corrected"] = "red"
    write_rows(clone.folder / "fixed.csv", list(rows[0]), rows)

    clone.run(sys.executable, "-m", "graft", "relabel", clone.folder / "fixed.csv")
    stages = ran(clone.dvc("repro"))
    assert "split" in stages
    assert "download" not in stages
    table = read_rows(clone.path / "data/split.csv")
    assert next(row["label"] for row in table if row["path"] == "green/wrong.png") == "red"
    assert "green/wrong.png" not in {row["path"] for row in read_rows(suspects)}
    assert clone.git("diff", "--stat", "relabelled.csv").count("|") == 1

    clone.git("checkout", "relabelled.csv")
    assert ran(clone.dvc("repro")) == []
    assert clone.outputs() == before


def test_the_table_of_suspects_itself_can_be_edited(clone):
    (clone.photos / "red/001.png").rename(clone.photos / "green/wrong.png")
    clone.dvc("repro", "inspect")
    path = clone.path / "metrics/suspects.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["path"] == "green/wrong.png"
    rows[0]["corrected"] = "-"
    write_rows(path, list(rows[0]), rows)
    clone.run(sys.executable, "-m", "graft", "relabel", "metrics/suspects.csv")
    clone.dvc("repro", "inspect")
    assert "green/wrong.png" not in (clone.path / "data/split.csv").read_text()
    assert "green/wrong.png" not in path.read_text()


# test_end_to_end_experiments.py has the list of all stages that run then.
@pytest.mark.slow
def test_another_learning_rate_does_not_inspect_the_images_again(clone):
    assert "inspect" not in ran(clone.dvc("exp", "run", "-S", "lr=1e-4"))


def test_the_suspects_are_a_chart_of_dvc_also_where_there_are_none(clone):
    (clone.path / "metrics/suspects.csv").write_text("path,label,likelier\n")
    clone.dvc("plots", "show")
    assert (clone.path / "dvc_plots/index.html").is_file()
