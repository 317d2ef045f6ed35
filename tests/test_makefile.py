"""The Makefile without a commit, or without the outputs of the last one: one line says what would do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import one_stage
import pytest
from one_stage import git

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def repository(project, monkeypatch, tmp_path):
    """A project with the repository's Makefile and a pipeline of one stage, whose results are committed."""
    monkeypatch.setenv("PATH", f"{Path(sys.prefix, 'bin')}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    shutil.copy(ROOT / "Makefile", "Makefile")
    one_stage.write()
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    assert run("dvc", "repro").returncode == 0
    git("add", ".")
    git("commit", "-q", "-m", "Results")
    return project


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_where_the_cache_lacks_the_last_results_restore_says_that_repro_computes_them(repository):
    results, parameters = Path("metrics/accuracy.json").read_bytes(), Path("params.yaml").read_bytes()
    # As in a fresh clone: what is committed was never computed here.
    shutil.rmtree(".dvc/cache")
    Path("data/images.csv").unlink()
    repository.set(lr=0.5)
    # Not the output of the commit: its bytes would be in the cache again.
    script = Path("stages/evaluate.py")
    script.write_text(script.read_text().replace("any.png", "other.png"))
    assert run("dvc", "repro").returncode == 0
    git("checkout", "-q", "stages")
    done = run("make", "restore")
    assert done.returncode != 0
    assert [("`dvc repro` computes them" in line, "Traceback" in line) for line in errors(done)] == [(True, False)]
    assert Path("params.yaml").read_bytes() == parameters
    assert run("dvc", "repro").returncode == 0
    assert Path("metrics/accuracy.json").read_bytes() == results
    assert git("status", "--porcelain") == ""


def test_restore_removes_figures_and_corrections_that_the_last_commit_does_not_have(repository):
    figures, corrections = Path("metrics/plots"), Path("relabelled.csv")
    figures.mkdir()
    for path, text in ((figures / "confusion.png", "committed"), (corrections, "path,sha256,label\n")):
        path.write_text(text)
    git("add", ".")
    git("commit", "-q", "-m", "Figures")
    for name in ("confusion.png", "learning_curves.png", "staged.png"):
        (figures / name).write_text("of another run")
    git("add", str(figures / "staged.png"))
    corrections.write_text("path,sha256,label\na.jpg,0,b\n")
    done = run("make", "restore")
    assert done.returncode == 0, done.stderr
    assert git("status", "--porcelain") == ""
    assert [path.read_text() for path in figures.iterdir()] == ["committed"]
    # What a person has corrected is not lost.
    assert "relabelled.csv had other corrections; a copy is .cache/relabelled.csv" in done.stdout
    assert Path(".cache/relabelled.csv").read_text().endswith("a.jpg,0,b\n")


def test_restore_goes_back_to_the_branch_and_unstages_the_photos_after_a_killed_experiment(repository):
    branch = git("symbolic-ref", "HEAD")
    # What DVC leaves when it is killed while a stage of an experiment runs.
    git("switch", "-q", "--detach")
    git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    photo = git("hash-object", "-w", "params.yaml").strip()
    git("rm", "-q", "--cached", "--ignore-unmatch", "data/source")
    git("update-index", "--add", "--cacheinfo", f"100644,{photo},data/source/ants/1.jpg")
    repository.set(lr=0.5)
    done = run("make", "restore")
    assert done.returncode == 0, done.stderr
    assert git("status", "--porcelain") == ""
    assert git("symbolic-ref", "HEAD") == branch


@pytest.mark.parametrize("killed", [False, True])
def test_restore_leaves_a_checked_out_commit_without_a_branch_as_it_is(repository, killed):
    git("commit", "-q", "--allow-empty", "-m", "A later one")
    git("switch", "-q", "--detach", "HEAD^")
    if killed:
        git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    before = git("rev-parse", "HEAD")
    assert run("make", "restore").returncode == 0
    assert git("branch", "--show-current") == ""
    assert git("rev-parse", "HEAD") == before


def test_restore_brings_back_corrections_that_were_deleted(repository):
    corrections = Path("relabelled.csv")
    corrections.write_text("path,sha256,label\n")
    git("add", ".")
    git("commit", "-q", "-m", "No correction")
    corrections.unlink()
    assert run("make", "restore").returncode == 0
    assert corrections.read_text() == "path,sha256,label\n"


def test_without_a_git_repository_restore_and_repro_say_so(repository):
    shutil.rmtree(".git")
    for target in ("restore", "repro"):
        # Nothing is installed before.
        Path(".venv").mkdir(exist_ok=True)
        Path(".venv/installed").touch()
        done = run("make", target, "-o", ".venv/installed")
        assert done.returncode != 0
        assert len(errors(done)) == 1
        assert "git" in errors(done)[0]


def test_in_a_repository_of_somebody_else_restore_shows_gits_remedy_and_changes_nothing(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    repository.set(lr=0.5)
    before = Path("params.yaml").read_bytes()
    done = run("make", "restore")
    assert done.returncode != 0
    assert "git config --global --add safe.directory" in done.stderr
    assert Path("params.yaml").read_bytes() == before
