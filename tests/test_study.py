"""Studies: variants are repeated, and ranked by the validation part alone."""

import shutil
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import one_stage
import own_parameters
import pandas as pd
import pytest
import yaml
from PIL import Image

from graft.commands import study
from graft.core import paths
from graft.core.errors import GraftError
from graft.report import figures
from graft.settings import params

ROOT = Path(__file__).resolve().parents[1]
ACCURACIES = pd.DataFrame(
    [
        ("plain", 0.80, 0.99),
        ("flip", 0.90, 0.70),
        ("plain", 0.84, 0.95),
        ("flip", 0.92, 0.74),
        ("equal", 0.82, 0.50),
        ("equal", 0.82, 0.50),
    ],
    columns=["variant", "validation", "test"],
)


def test_variants_are_ranked_by_their_mean_on_the_validation_part_whatever_the_test_part_says():
    table = study.ranking(ACCURACIES)
    assert table["variant"].tolist() == ["flip", "plain", "equal"]
    assert table["runs"].tolist() == [2, 2, 2]
    assert table["validation_mean"].tolist() == pytest.approx([0.91, 0.82, 0.82])
    assert table["validation_spread"].tolist() == pytest.approx([np.sqrt(2e-4), np.sqrt(8e-4), 0])
    assert table["test_mean"].tolist() == pytest.approx([0.72, 0.97, 0.50])


def test_a_single_run_has_no_spread():
    table = study.ranking(ACCURACIES.iloc[:2])
    assert table["validation_spread"].isna().all()


def test_the_picture_has_the_same_bytes_each_time_and_takes_a_single_run(tmp_path):
    for name, accuracies in (("one.png", ACCURACIES), ("other.png", ACCURACIES), ("single.png", ACCURACIES.iloc[:2])):
        figures.study(tmp_path / name, study.ranking(accuracies), "flips, $ and all")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "single.png")).std() > 0


WHOLE = {
    "about": "flips",
    "settings": ["lr=1e-3", "seed=9", "head.C=2", "augment.flip=none"],
    "over": {"split.fold": [0, 3]},
    "variants": {"none": [], "both": ["augment.flip=both", "head.C=1"]},
}


@pytest.fixture
def load(project):
    """Return a function that loads a study of this content."""
    (project.folder / "dvc.yaml").write_text("stages: {}\n")

    def load(**changes):
        values = {key: value for key, value in (WHOLE | changes).items() if value is not None}
        paths.STUDIES.write_text(yaml.safe_dump({"flips": values}, sort_keys=False))
        return study.load("flips")

    return load


def test_each_variant_runs_for_each_value_and_its_settings_count_most(load):
    table = study.planned_runs("flips", load(), {"lr": "0.5", "head.C": "3"})
    assert [(row.variant, row.value, row.experiment.name) for row in table.itertuples()] == [
        ("none", 0, "flips-none-fold0"),
        ("none", 3, "flips-none-fold3"),
        ("both", 0, "flips-both-fold0"),
        ("both", 3, "flips-both-fold3"),
    ]
    settings = [experiment.settings for experiment in table["experiment"]]
    assert settings[1] == {"lr": "0.5", "seed": "9", "head.C": "3", "augment.flip": "none", "split.fold": "3"}
    assert settings[2] == {"lr": "0.5", "seed": "9", "head.C": "1", "augment.flip": "both", "split.fold": "0"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"about": None}, r"^studies\.yaml: flips\.about: Field required$"),
        ({"variant": {}}, r"^studies\.yaml: flips\.variant: Extra inputs are not permitted$"),
        ({"variants": {}}, r"^studies\.yaml: flips\.variants: "),
        ({"over": {"seed": [1], "split.fold": [1]}}, r"^studies\.yaml: flips\.over: "),
        ({"over": {"seed": []}}, r"^studies\.yaml: flips\.over\.seed: "),
    ],
)
def test_a_study_that_is_not_as_it_must_be_is_one_line(load, changes, message):
    with pytest.raises(GraftError, match=message):
        load(**changes)


def test_an_unknown_study_is_refused_with_the_nearest_names(load):
    load()
    with pytest.raises(GraftError, match=r"^studies\.yaml: no study is called 'flipz'; did you mean 'flips'\?$"):
        study.load("flipz")


@pytest.mark.parametrize("content", [b"flips: 0x_", b"flips: 1\nflips: 2", b"\xff", b"a: \0", b"[" * 3000, b"\ta: 1"])
def test_a_file_that_is_not_yaml_is_one_line(project, content):
    paths.STUDIES.write_bytes(content)
    with pytest.raises(GraftError, match=r"^studies\.yaml: not YAML: [^\n]*$"):
        study.load("flips")


@pytest.mark.parametrize("name", yaml.safe_load((ROOT / "studies.yaml").read_text(encoding="utf-8")))
def test_every_study_of_the_repository_has_settings_that_the_parameters_take_and_no_two_runs_are_the_same(
    name, project
):
    shutil.copy(ROOT / paths.STUDIES, paths.STUDIES)
    shutil.copy(own_parameters.FILE, paths.PARAMETERS)
    table = study.planned_runs(name, study.load(name), {})
    parameters = [params.load(changes=experiment.settings).model_dump_json() for experiment in table["experiment"]]
    assert len(set(parameters)) == len(parameters)


def test_a_study_is_run_ranked_and_written(project, monkeypatch, tmp_path, capsys):
    one_stage.write()
    paths.STUDIES.write_text("rates: {about: rates, over: {seed: [3]}, variants: {low: [lr=0.25], high: [lr=0.5]}}")
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    parser = ArgumentParser()
    study.add_arguments(parser)
    study.main(parser.parse_args(["rates", "-S", "split.fold=1"]))
    written = Path("metrics/studies/rates.csv").read_text()
    assert written.splitlines() == [
        "variant,runs,validation_mean,validation_spread,validation_min,validation_max,"
        "test_mean,test_spread,test_min,test_max",
        "high,1,0.500000,,0.500000,0.500000,0.500000,,0.500000,0.500000",
        "low,1,0.250000,,0.250000,0.250000,0.250000,,0.250000,0.250000",
    ]
    assert Path("metrics/studies/rates.png").is_file()
    assert "high     1           0.5000" in capsys.readouterr().out
    assert one_stage.git("status", "--porcelain") == "?? metrics/\n"
