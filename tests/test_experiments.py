"""Experiments: an experiment is what it depends on; what is done is not run again, and a failure says where to look."""

import json
from pathlib import Path

import one_stage
import pytest
from one_stage import git

from graft.commands import experiments
from graft.core.errors import GraftError

METRICS = Path("metrics/accuracy.json")


@pytest.fixture
def pipeline(project):
    """A project with a pipeline of one stage."""
    one_stage.write()
    return project


@pytest.fixture
def repository(pipeline, monkeypatch, tmp_path):
    """The same in a git repository that DVC can make experiments in."""
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    return pipeline


def rates(references):
    return [experiments.json_at(reference, METRICS)["accuracy"] for reference in references]


def test_what_is_done_is_not_run_again_and_the_workspace_stays_as_it_was(repository, capsys):
    repository.set(seed=7)
    before = Path("params.yaml").read_text()
    first = [experiments.planned("first", {"lr": "1e-4"})]
    assert rates(experiments.completed(first)) == [1e-4]
    assert Path("params.yaml").read_text() == before
    assert git("status", "--porcelain") == " M params.yaml\n"
    assert not METRICS.exists()
    capsys.readouterr()
    again = [experiments.planned("again", {"lr": "0.0001"})]
    assert rates(experiments.completed(again)) == [1e-4]
    assert capsys.readouterr().out == f"1 of 1: again (done before, as {first[0].name})\n"


def test_a_failure_names_its_reason_and_its_log_and_what_came_before_is_kept(repository):
    planned = [experiments.planned("good", {"lr": "0.5"}), experiments.planned("bad", {"lr": "2"})]
    completed = experiments.completed(planned)
    assert rates([next(completed)]) == [0.5]
    with pytest.raises(
        GraftError, match=r"^bad: failed, lr is too large; [^\n]* its log is \.cache/experiments/bad-\w+"
    ):
        next(completed)
    assert "lr is too large" in Path(f".cache/experiments/{planned[1].name}.log").read_text()
    assert list(experiments.finished()) == [planned[0].key]
    assert git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("statement", "reason"),
    [("raise ValueError('no steps')", "ValueError: no steps"), ("sys.exit(3)", "failed to reproduce 'evaluate': ")],
)
def test_a_failure_without_a_word_of_its_own_has_pythons_or_dvcs(repository, statement, reason):
    Path("stages/evaluate.py").write_text(f"import sys\nprint('  5%\\r', end='')\n{statement}\n")
    with pytest.raises(GraftError, match=rf"^bad: failed, {reason}"):
        list(experiments.completed([experiments.planned("bad", {})]))


def test_nothing_runs_if_the_code_has_changed_since_the_plan(repository):
    planned = [experiments.planned("late", {})]
    Path("stages/evaluate.py").write_text(one_stage.SCRIPT + "# changed\n")
    with pytest.raises(
        GraftError, match=r"^late: params\.yaml, the code or the images have changed meanwhile; run again$"
    ):
        list(experiments.completed(planned))


def key(**settings):
    return experiments.planned("any", {name.replace("__", "."): value for name, value in settings.items()}).key


def test_the_same_value_is_the_same_experiment_however_it_is_written(pipeline):
    assert key(lr="1e-4") == key(lr="0.0001")
    assert key(split__fold="0") == key()


def test_a_name_ends_with_the_key(pipeline):
    assert experiments.planned("mobilenet-fold0", {}).name == f"mobilenet-fold0-{key()}"


@pytest.mark.parametrize(
    "settings", [{"lr": "0.5"}, {"split.fold": "1"}, {"head.C": "auto"}, {"dataset": "flower_photos"}]
)
def test_another_setting_is_another_experiment(pipeline, settings):
    pipeline.set(head__C=3.0)
    assert experiments.planned("any", settings).key != key()


def test_thresholds_of_the_gate_do_not_make_another_experiment(pipeline):
    assert key(gate__min_accuracy="0.1") == key()


def test_changed_code_or_another_command_makes_another_experiment(pipeline):
    before = key()
    Path("stages/evaluate.py").write_text(one_stage.SCRIPT + "# changed\n")
    changed = key()
    Path("dvc.yaml").write_text(one_stage.PIPELINE.replace("evaluate.py\n", "evaluate.py --twice\n", 1))
    assert len({before, changed, key()}) == 3


def test_a_description_or_code_outside_the_pipeline_makes_no_other_experiment(pipeline):
    before = key()
    Path("stages/gate.py").write_text("# not of the pipeline\n")
    Path("dvc.yaml").write_text(one_stage.PIPELINE + "    desc: judged\n")
    assert key() == before


def test_a_changed_image_or_name_or_weights_file_makes_another_experiment(pipeline, image_folder):
    weights = Path("weights.h5")
    weights.write_bytes(b"one")
    pipeline.set(dataset=str(image_folder), weights=str(weights))
    keys = {key()}
    (image_folder / "blue/000.jpg").write_bytes(b"other")
    keys.add(key())
    (image_folder / "blue/000.jpg").rename(image_folder / "blue/100.jpg")
    keys.add(key())
    weights.write_bytes(b"other")
    keys.add(key())
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment.zooom": "0.1"}, r"^params\.yaml: unknown key 'augment\.zooom'; did you mean 'zoom'\?$"),
        ({"lr": "-1"}, r"^params\.yaml: lr is -1: "),
        ({"lr": "1e-3,1e-4"}, r"^params\.yaml: lr is '1e-3,1e-4': "),
        ({"lr.peak": "1"}, r"^lr\.peak: lr is a value, not a section; "),
        ({"lr": "["}, r"^lr: not a value: \[$"),
        ({"split.fold": "5"}, r"^params\.yaml: split: fold is 5, but with folds: 5 it is from 0 to 4$"),
        ({"dataset": "nowhere"}, r"^dataset: nowhere is no data set of the catalog "),
        ({"weights": "nowhere.h5"}, r"^weights: no file nowhere\.h5; "),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_runs(pipeline, settings, message):
    with pytest.raises(GraftError, match=message):
        experiments.planned("any", settings)


@pytest.mark.parametrize("label", ["", "two words", "a/b", "a..b", "-a", "a-", "ü"])
def test_what_git_would_not_take_as_a_name_is_refused(pipeline, label):
    with pytest.raises(GraftError, match=f"^{label}: no name for experiments; "):
        experiments.planned(label, {})


def test_settings_are_texts_with_an_equals_sign_and_the_last_counts():
    assert experiments.parse_settings(["lr=1", "dataset=a=b", "lr=2", "weights="]) == {
        "lr": "2",
        "dataset": "a=b",
        "weights": "",
    }


@pytest.mark.parametrize("text", ["lr", "=1", "split fold=1", "+lr=1", "split.=1"])
def test_a_text_of_another_form_is_refused(text):
    with pytest.raises(GraftError, match=r"not of the form KEY=VALUE"):
        experiments.parse_settings([text])


def test_a_file_is_read_from_an_experiment_by_its_name_a_branch_or_a_commit(repository):
    METRICS.parent.mkdir()
    METRICS.write_text(json.dumps({"lr": 3}))
    git("add", ".")
    git("commit", "-q", "-m", "metrics")
    git("update-ref", "refs/exps/ab/cdef/tender-rose", "HEAD")
    for revision in ("tender-rose", "main", "HEAD"):
        assert experiments.json_at(revision, METRICS) == {"lr": 3}
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json at HEAD~1: [^\n]+$"):
        experiments.file_at("HEAD~1", METRICS)
