"""graft import: photos come under DVC's control, and whoever clones and pulls can run the pipeline on them."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clones import ROOT, SMALL, Clone, ran

from graft.__main__ import command
from graft.core.errors import GraftError, one_line

IMPORT = ("python", "-m", "graft", "import")
NAME = "meine Blümen"


def error(done: subprocess.CompletedProcess) -> str:
    """Return the one line of a command that failed."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def changed_lines(clone: Clone, name: str) -> list[str]:
    """Return the lines of a file that differ from the last commit's, with + or -."""
    return [line for line in clone.git("diff", "-U0", "HEAD", "--", name).splitlines()[4:] if line[0] in "+-"]


@pytest.fixture(scope="module")
def blank(tmp_path_factory, write_image_folder):
    """A new repository of the pipeline, with its own params.yaml, and photos outside of it; nothing has run."""
    clone = Clone.of_working_files(tmp_path_factory.mktemp("blank"))
    write_image_folder(clone.folder / NAME, count=4)
    return clone


@pytest.fixture
def repository(blank, tmp_path):
    """A copy of it."""
    shutil.copytree(blank.folder, tmp_path / "copy", symlinks=True)
    return Clone(tmp_path / "copy")


@pytest.fixture(scope="module")
def imported(tmp_path_factory, write_image_folder):
    """A repository with imported photos and the results of the first stages, committed and pushed to a DVC remote."""
    clone = Clone.of_working_files(tmp_path_factory.mktemp("imported"))
    own = write_image_folder(clone.folder / NAME, count=20)
    # What systems leave in folders: DVC never looks at the first two.
    (own / ".DS_Store").touch()
    (own / "red/Thumbs.db").touch()
    (own / "red/.hidden.txt").touch()
    clone.set(**SMALL | {"dataset": "digits"})
    # The later ones know nothing of an import.
    clone.keep_stages("resolve", "download", "split")
    clone.commit("Small settings")
    printed = clone.run(*IMPORT, own)
    # The line to type is the last one.
    clone.run("bash", "-e", "-c", printed.splitlines()[-1].removeprefix("next: "))
    clone.commit("Results")
    clone.dvc("remote", "add", "--default", "--quiet", "store", clone.folder / "remote")
    clone.commit("Remote")
    clone.dvc("push")
    shutil.rmtree(own)
    return clone


@pytest.fixture(scope="module")
def computed(imported, tmp_path_factory):
    """The same repository after all stages."""
    clone = Clone(tmp_path_factory.mktemp("computed"))
    shutil.copytree(imported.folder, clone.folder, symlinks=True, dirs_exist_ok=True)
    shutil.copy2(ROOT / "dvc.yaml", clone.path)
    clone.dvc("remote", "modify", "--quiet", "store", "url", clone.folder / "remote")
    clone.dvc("repro")
    clone.commit("All results")
    clone.dvc("push")
    return clone


def pulled_from(clone: Clone, folder: Path) -> Clone:
    """Return a fresh clone after `dvc pull`; the photos are nowhere else on the machine."""
    pulled = Clone(folder)
    folder.mkdir()
    pulled.run("git", "clone", "--quiet", clone.path, pulled.path, within=folder)
    pulled.dvc("pull")
    return pulled


@pytest.mark.parametrize("fixture", ["imported", pytest.param("computed", marks=pytest.mark.slow)])
def test_a_pulled_clone_is_up_to_date_and_runs_nothing(request, tmp_path, fixture):
    clone = request.getfixturevalue(fixture)
    pulled = pulled_from(clone, tmp_path / "pulled")
    assert "up to date" in pulled.dvc("status")
    assert ran(pulled.dvc("repro")) == []
    assert pulled.git("status", "--porcelain") == ""
    assert pulled.outputs() == clone.outputs()


@pytest.mark.slow
def test_verify_finds_the_imported_images_in_the_cache(computed):
    # Among them are files that systems leave in folders, which DVC leaves out.
    assert "pass  all " in computed.run(sys.executable, "-m", "graft", "verify")


@pytest.mark.slow
def test_a_pulled_clone_computes_what_its_commit_changes_and_an_experiment_in_a_temporary_clone_too(computed, tmp_path):
    pulled = pulled_from(computed, tmp_path / "pulled")
    assert ran(pulled.dvc("exp", "run", "-S", "split.seed=1"))[:2] == ["resolve", "split"]
    assert "download" not in ran(pulled.dvc("exp", "run", "--temp", "-S", "split.seed=2"))
    assert os.readlink(pulled.source) == f"../photos/{NAME}"


def test_a_clone_that_has_not_pulled_is_told_the_command(imported, tmp_path):
    clone = Clone(tmp_path / "clone")
    clone.folder.mkdir()
    clone.run("git", "clone", "--quiet", imported.path, clone.path, within=clone.folder)
    pull = f"dvc pull {shlex.quote(f'photos/{NAME}.dvc')}"
    # `make repro` calls the first one: DVC itself fails at the link data/source.
    for words in ("graft", "mend"), ("stages.resolve",):
        done = clone.attempt("python", "-m", *words)
        assert error(done) == f"error: dataset: photos/{NAME} is under DVC, but not here yet; `{pull}` fetches it"
    clone.run("bash", "-c", pull)
    clone.run("python", "-m", "stages.resolve")


def test_an_outside_folder_works_and_resolve_says_what_it_costs(repository):
    repository.set(dataset=f"../{NAME}")
    (line,) = (
        line for line in repository.run("python", "-m", "stages.resolve").splitlines() if "not under DVC" in line
    )
    assert line.endswith(f"`graft import '../{NAME}'` brings it into the repository")
    repository.run("bash", "-c", line.split("`")[1].replace("graft", "python -m graft"))
    assert "not under DVC" not in repository.run("python", "-m", "stages.resolve")


def test_one_line_of_the_parameters_changes_and_the_message_names_what_to_commit(repository):
    before = yaml.safe_load((repository.path / "params.yaml").read_text(encoding="utf-8"))
    printed = repository.run(*IMPORT, f"../{NAME}/")
    after = yaml.safe_load((repository.path / "params.yaml").read_text(encoding="utf-8"))
    assert after == before | {"dataset": f"photos/{NAME}"}
    assert changed_lines(repository, "params.yaml") == ["-dataset: digits", f"+dataset: photos/{NAME}"]
    add, commit, repro = printed.splitlines()[-1].removeprefix("next: ").split(" && ")
    assert shlex.split(add) == ["git", "add", "params.yaml", f"photos/{NAME}.dvc", "photos/.gitignore"]
    repository.run("bash", "-e", "-c", f"{add} && {commit}")
    assert repro == "dvc repro"
    assert repository.git("status", "--porcelain") == ""


def test_the_other_bytes_of_the_parameters_stay_and_a_checksum_of_an_earlier_archive_is_emptied(repository):
    path = repository.path / "params.yaml"
    checksum = "a" * 64
    before = path.read_bytes().replace(b"\ndataset_sha256:\n", f"\ndataset_sha256: {checksum} # of a.zip\n".encode())
    # The line ends of Windows.
    path.write_bytes(before.replace(b"\n", b"\r\n"))
    repository.commit("A checksum")
    before = path.read_bytes().replace(b"\nlr: 3.0e-4\r", b"\nlr: 1.0e-4\r")
    path.write_bytes(before)
    printed = repository.run(*IMPORT, f"../{NAME}")
    assert "params.yaml has other changes too that are not committed" in printed
    expected = before.replace(b"dataset: digits\r", f"dataset: photos/{NAME}\r".encode())
    assert path.read_bytes() == expected.replace(f" {checksum} #".encode(), b" #")
    assert len(changed_lines(repository, "params.yaml")) == 6


@pytest.mark.slow
def test_a_folder_that_has_changed_is_imported_again_under_its_name_and_git_has_the_way_back(repository):
    photos, own = repository.path / "photos" / NAME, repository.folder / NAME
    assert "in place of" not in repository.run(*IMPORT, own)
    repository.commit("Photos")
    (own / "red/000.jpg").unlink()
    shutil.copy(own / "red/001.png", own / "red/new.png")
    assert f"is under DVC as photos/{NAME}, in place of what was there, and" in repository.run(*IMPORT, own)
    assert not (photos / "red/000.jpg").exists()
    assert (photos / "red/new.png").exists()
    assert changed_lines(repository, "params.yaml") == []
    repository.git("checkout", "--quiet", ".")
    repository.dvc("checkout", photos)
    assert (photos / "red/000.jpg").exists()
    assert not (photos / "red/new.png").exists()


@pytest.mark.slow
def test_photos_that_were_changed_in_the_repository_are_not_overwritten(repository):
    photos = repository.path / "photos" / NAME
    repository.run(*IMPORT, f"../{NAME}")
    (photos / "red/000.jpg").unlink()
    line = error(repository.attempt(*IMPORT, f"../{NAME}"))
    assert "has changed since DVC saw it" in line
    keep, undo = line.split("`")[1:4:2]
    assert not (photos / "red/000.jpg").exists()
    repository.run("bash", "-c", undo)
    assert (photos / "red/000.jpg").exists()
    (photos / "red/000.jpg").unlink()
    repository.run("bash", "-c", keep)
    repository.run(*IMPORT, f"../{NAME}")
    assert (photos / "red/000.jpg").exists()


def test_a_folder_in_the_repository_stays_in_its_place(repository):
    shutil.copytree(repository.folder / NAME, repository.path / "digits")
    repository.run(*IMPORT, "digits")
    # `digits` alone is the catalog's.
    assert changed_lines(repository, "params.yaml") == ["-dataset: digits", "+dataset: ./digits"]
    assert (repository.path / "digits.dvc").is_file()
    assert not (repository.path / "photos").exists()
    repository.run("python", "-m", "stages.resolve")
    assert os.readlink(repository.source) == "../digits"


@pytest.mark.parametrize(
    "suffix", ["zip", pytest.param("tar", marks=pytest.mark.slow), pytest.param("tgz", marks=pytest.mark.slow)]
)
def test_an_archive_is_imported_as_it_is(repository, suffix):
    kinds = {"zip": "zip", "tar": "tar", "tgz": "gztar"}
    made = shutil.make_archive(str(repository.folder / "made"), kinds[suffix], repository.folder / NAME)
    shutil.move(made, repository.folder / f"made.{suffix}")
    repository.run(*IMPORT, f"../made.{suffix}")
    repository.run("python", "-m", "stages.resolve")
    assert os.readlink(repository.source) == f"../photos/made.{suffix}"
    repository.run("python", "-m", "stages.download")
    assert len((repository.path / "data/images.csv").read_text().splitlines()) == 13


def test_a_link_is_followed_and_gives_its_name(repository):
    (repository.folder / "link").symlink_to(NAME)
    repository.run(*IMPORT, "../link")
    assert (repository.path / "photos/link/red/000.jpg").is_file()
    assert not (repository.path / "photos/link").is_symlink()


def make_taken(clone):
    (clone.path / "photos" / NAME).mkdir(parents=True)
    return f"../{NAME}"


def make_tracked(clone):
    shutil.copytree(clone.folder / NAME, clone.path / "own")
    clone.commit("Photos in git")
    return "own"


def make_output(clone):
    shutil.copytree(clone.folder / NAME, clone.path / "data/raw")
    return "data/raw"


def make_flat(clone):
    shutil.copytree(clone.folder / NAME / "red", clone.folder / "flat")
    return "../flat"


def make_text(clone):
    (clone.folder / "a.zip").write_text("no archive")
    return "../a.zip"


def make_pipe(clone):
    os.mkfifo(clone.folder / NAME / "red/pipe")
    return f"../{NAME}"


def make_two_lines(clone):
    shutil.copytree(clone.folder / NAME, clone.folder / "a\nb: c")
    return "../a\nb: c"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda clone: "", "an empty name"),
        (lambda clone: "../nowhere", "no such folder or archive"),
        (lambda clone: "x" * 300, "cannot be read"),
        (lambda clone: "digits", "every machine can fetch this; write it as `dataset`"),
        (lambda clone: "https://example.org/a.zip", "every machine can fetch this"),
        (lambda clone: "params.yaml", "is a file, but none of .tar"),
        (lambda clone: ".", "it holds this repository"),
        (lambda clone: "..", "it holds this repository"),
        (make_output, "the stages write data"),
        (make_taken, "is there and not under DVC; remove it"),
        (make_tracked, "git has it, so every clone has it too; to move it to DVC, first `git rm -r --cached"),
        (make_flat, "flat"),
        (make_text, "damaged, or no .tar"),
        (make_pipe, "red/pipe is neither a file nor a folder; remove it"),
        (make_two_lines, "params.yaml: dataset is not on a line of its own"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_changes_nothing(repository, monkeypatch, make, message):
    text = make(repository)
    repository.commit("Before") if repository.git("status", "--porcelain") else None
    monkeypatch.chdir(repository.path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with pytest.raises(GraftError) as caught:
        command(["import", text])
    assert message in one_line(caught.value)
    assert repository.git("status", "--porcelain") == ""
    assert list(repository.path.rglob("?*.dvc")) == []


def test_without_git_it_is_one_line(repository):
    shutil.rmtree(repository.path / ".git")
    variables = {"GIT_CEILING_DIRECTORIES": str(repository.folder)}
    assert "git init" in error(repository.attempt(*IMPORT, f"../{NAME}", **variables))
