"""Experiments: only what has changed is computed, results are of the same inputs, and a failure says where to look."""

import shutil
from pathlib import Path

import one_stage
import pytest
from one_stage import git

from graft.commands import experiments, revisions
from graft.core.errors import GraftError
from graft.core.files import write_json

METRICS = Path("metrics/accuracy.json")
SCRIPT = Path("stages/evaluate.py")


@pytest.fixture
def repository(project, monkeypatch, tmp_path):
    """A project with a pipeline of one stage, in a git repository that DVC can make experiments in."""
    one_stage.write()
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    return project


def experiment(name, **settings):
    return experiments.new_experiment(name, settings)


def rates(references):
    return [revisions.json_at(reference, METRICS)["accuracy"] for reference in references]


def test_results_have_the_names_of_their_experiments_and_the_workspace_stays_as_it_was(repository):
    repository.set(seed=7)
    before = Path("params.yaml").read_text()
    references = list(experiments.run_each([experiment("first", lr="1e-4"), experiment("second", lr="0.5")]))
    assert [reference.rsplit("/", 1)[-1] for reference in references] == ["first", "second"]
    assert rates(references) == rates(["first", "second"]) == [1e-4, 0.5]
    assert Path("params.yaml").read_text() == before
    assert git("status", "--porcelain") == " M params.yaml\n"
    assert not METRICS.exists()


def test_what_ran_before_is_not_computed_again_and_a_result_replaces_the_earlier_one_of_its_name(repository, capsys):
    for rate in ("1e-4", "0.5", "0.0001"):
        assert rates(experiments.run_each([experiment("any", lr=rate)])) == rates(["any"]) == [float(rate)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 of 1: any (")
    assert [line.partition(",")[2] for line in lines] == ["", "", " nothing had to be computed)"]
    assert "Running stage" not in Path(".cache/experiments/any.log").read_text()


def test_a_failure_names_its_reason_and_its_log_and_all_earlier_results_are_kept(repository):
    running = experiments.run_each([experiment("any", lr="0.5"), experiment("any", lr="2")])
    assert rates([next(running)]) == [0.5]
    with pytest.raises(
        GraftError,
        match=r"^any: failed, lr is too large; the others are kept, its log is \.cache/experiments/any\.log$",
    ):
        next(running)
    assert "lr is too large" in Path(".cache/experiments/any.log").read_text()
    assert rates(["any"]) == [0.5]
    assert git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("statement", "reason"),
    [("raise ValueError('no steps')", "ValueError: no steps"), ("sys.exit(3)", "failed to reproduce 'evaluate': ")],
)
def test_a_failure_without_a_message_of_its_own_has_pythons_or_dvcs(repository, statement, reason):
    SCRIPT.write_text(f"import sys\nprint('  5%\\r', end='')\n{statement}\n")
    with pytest.raises(GraftError, match=rf"^bad: failed, {reason}"):
        list(experiments.run_each([experiment("bad")]))


def test_changes_that_dvc_cannot_take_over_are_to_be_committed():
    log = "ERROR: unexpected error - Could not apply stash commit: Stash apply resulted in merge conflicts\n"
    assert experiments.failure(log) == (
        "DVC cannot take over what is not committed; commit it first: `git add . && git commit -m results`"
    )


def test_results_of_different_inputs_are_refused(repository):
    running = experiments.run_each([experiment("one"), experiment("two")])
    next(running)
    SCRIPT.write_text(one_stage.SCRIPT + "# changed\n")
    with pytest.raises(GraftError, match=r"^two: stages/evaluate\.py has changed since one ran; run again: "):
        next(running)


LOCK = """\
stages:
  resolve: {cmd: resolve, outs: [{path: data/source, md5: "1"}, {path: data/weights, md5: "2"}]}
  download: {cmd: download, deps: [{path: data/source, md5: "1"}], outs: [{path: data/raw, md5: "3"}]}
  freeze: {cmd: freeze, deps: [{path: data/weights, md5: "2"}, {path: graft/core, md5: "4"}]}
  extract: {cmd: extract, outs: [{path: data/features, md5: "5"}]}
  evaluate: {cmd: evaluate, deps: [{path: data/raw, md5: "3"}, {path: data/features/features.npy, md5: "6"}]}
"""


def test_inputs_are_parameters_commands_code_images_and_weights_and_nothing_that_stages_compute(repository):
    Path("params.yaml").write_text("{dataset: photos, weights: none, split: {fold: 0, seed: 1}, gate: {max_drop: 1}}")
    Path("dvc.lock").write_text(LOCK)
    git("add", ".")
    git("commit", "-q", "-m", "results")
    commands = {f"the command of {stage}": stage for stage in ("resolve", "download", "freeze", "extract", "evaluate")}
    assert experiments.inputs("HEAD", without=["split.fold"]) == commands | {
        "dataset": "photos",
        "weights": "none",
        "split.seed": 1,
        "dataset photos": {"path": "data/source", "md5": "1"},
        "weights none": {"path": "data/weights", "md5": "2"},
        "graft/core": {"path": "graft/core", "md5": "4"},
    }
    assert "split.seed" not in experiments.inputs("HEAD", without=["split"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment.zooom": "0.1"}, r"^params\.yaml: unknown key 'augment\.zooom'; did you mean 'zoom'\?$"),
        ({"lr": "-1"}, r"^params\.yaml: lr is -1: "),
        ({"lr": "1e-3,1e-4"}, r"^params\.yaml: lr is '1e-3,1e-4': "),
        ({"lr.peak": "1"}, r"^lr\.peak: lr is a value, not a section; "),
        ({"lr": "["}, r"^lr: not YAML: line 1, `\[`: "),
        ({"split.fold": "5"}, r"^params\.yaml: split: fold is 5, but with folds: 5 it is from 0 to 4$"),
        ({"dataset": "nowhere"}, r"^dataset: nowhere is no data set of the catalog "),
        ({"weights": "nowhere.h5"}, r"^weights: no file nowhere\.h5; "),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_runs(project, settings, message):
    with pytest.raises(GraftError, match=message):
        experiments.new_experiment("any", settings)


@pytest.mark.parametrize("name", ["", "two words", "a/b", "a..b", "-a", "a-", "ü"])
def test_what_git_would_not_accept_as_a_name_is_refused(project, name):
    with pytest.raises(GraftError, match=f"^{name}: no name for experiments; "):
        experiments.new_experiment(name, {})


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
    write_json(METRICS, {"lr": 3})
    git("add", ".")
    git("commit", "-q", "-m", "metrics")
    git("update-ref", "refs/exps/ab/cdef/tender-rose", "HEAD")
    for revision in ("tender-rose", "main", "HEAD"):
        assert revisions.json_at(revision, METRICS) == {"lr": 3}
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json at HEAD~1: [^\n]+$"):
        revisions.file_at("HEAD~1", METRICS)


def test_of_experiments_of_one_name_the_newest_counts(repository, monkeypatch):
    # The references are in the order of their first letters.
    for folder, rate, date in (("aa", 1, "2001"), ("bb", 3, "2003"), ("cc", 2, "2002")):
        write_json(METRICS, {"lr": rate})
        git("add", ".")
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{date}-01-01T00:00:00")
        git("commit", "-q", "-m", "metrics")
        git("update-ref", f"refs/exps/{folder}/cdef/tender-rose", "HEAD")
    assert revisions.json_at("tender-rose", METRICS) == {"lr": 3}


def test_the_validation_accuracy_is_that_of_the_exported_model(repository):
    metrics = {
        "head": {"head": {}, "head_validation": {"accuracy": 0.75}},
        "fine_tune": {"fine_tuned_validation": {"accuracy": 0.875}},
        "export": {"exported": "head", "exported_validation": {"accuracy": 0.8}},
    }
    for name, values in metrics.items():
        write_json(METRICS.with_stem(name), values)
    git("add", ".")
    git("commit", "-q", "-m", "metrics")
    assert experiments.validation_accuracy("HEAD") == 0.8


def test_outside_a_git_repository_one_line_says_what_would_do(repository):
    shutil.rmtree(".git")
    with pytest.raises(
        GraftError, match=r"not a git repository [^\n]*; clone the project with git, or run `git init && "
    ):
        list(experiments.run_each([experiment("any", lr="0.5")]))


def test_without_a_commit_one_line_says_what_would_do(repository):
    shutil.rmtree(".git")
    git("init", "-q")
    with pytest.raises(
        GraftError, match=r"git has no commit here \([^\n]*\); run `git init && [^\n]+ git commit -m start`$"
    ):
        list(experiments.run_each([experiment("any", lr="0.5")]))


def test_in_a_repository_of_somebody_else_one_line_has_gits_reason_and_remedy(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(GraftError, match=r"^fatal: detected dubious ownership [^\n]+ --add safe\.directory \S+$"):
        list(experiments.run_each([experiment("any", lr="0.5")]))
