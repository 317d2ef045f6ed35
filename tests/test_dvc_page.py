"""docs/dvc.md: each block of commands does what the page says."""

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from clones import ROOT, SMALL, Clone, experiments, ran, wait_for

PAGE = (ROOT / "docs/dvc.md").read_text(encoding="utf-8")
# The blocks of commands by their heading.
BLOCKS = {
    section.partition("\n")[0]: re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}
(IMPORT, LINKS), (REMOTE, SSH, S3, ENDPOINT) = (
    BLOCKS["Your photos under DVC"],
    BLOCKS["A remote: where others get the large files"],
)
(PULL,), (MERGE,) = BLOCKS["On another machine"], BLOCKS["Merge two branches"]
SHOW, QUEUE, APPLY = BLOCKS["Experiments"]
(COLLECT,), (PLOTS,) = BLOCKS["Free disk space"], BLOCKS["Plots without a network"]
SHOWN = {"Experiment", "exported", "accuracy", "accuracy_low", "accuracy_high", "backbone", "lr"}
BUNDLE = "window.vegaEmbed = () => 'drawn';"


def run(clone: Clone, block: str, within: Path | None = None, **variables: str) -> str:
    """Run a block of the page in a clone; the places that it names are in the clone's folder."""
    for place, own in (
        ("/mnt/store/flowers", clone.folder.parent / "store"),
        ("git@example.org:me/flowers.git", clone.folder.parent / "flowers.git"),
        ("graft ", "python -m graft "),
    ):
        block = re.sub(rf"(?m)(^|(?<= )){re.escape(place)}", str(own), block)
    return clone.run("bash", "-e", "-c", block, within=within, **variables)


@pytest.fixture(scope="module")
def owner(tmp_path_factory, write_image_folder):
    """A repository of the first stages after the blocks about import and remote, with an origin that git pushes to."""
    folder = tmp_path_factory.mktemp("machines")
    clone = Clone.of_working_files(folder / "owner")
    clone.set(**SMALL | {"dataset": "digits"})
    clone.keep_stages("resolve", "download", "split")
    clone.commit("Small settings")
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", folder / "flowers.git"], check=True)
    clone.git("remote", "add", "origin", folder / "flowers.git")
    clone.git("push", "--quiet", "--set-upstream", "origin", "main")
    write_image_folder(clone.folder / "home/Pictures/flowers", count=20)
    run(clone, IMPORT)
    run(clone, REMOTE)
    return clone


def copied(owner: Clone, folder: Path) -> Clone:
    """Return a copy of the owner's repository, with its remotes."""
    for name in ("owner", "store", "flowers.git"):
        shutil.copytree(owner.folder.parent / name, folder / name, symlinks=True)
    clone = Clone(folder / "owner")
    clone.dvc("remote", "modify", "--local", "store", "url", folder / "store")
    return clone


@pytest.fixture(scope="module")
def computed(owner, tmp_path_factory):
    """The owner's repository after all stages."""
    clone = copied(owner, tmp_path_factory.mktemp("computed"))
    shutil.copy2(ROOT / "dvc.yaml", clone.path)
    clone.dvc("repro")
    clone.commit("All stages")
    clone.dvc("push", "--run-cache")
    return clone


@pytest.fixture
def machine(computed, tmp_path):
    """A copy of the repository with all results."""
    return copied(computed, tmp_path)


def test_every_block_of_the_page_is_tested():
    assert list(map(len, BLOCKS.values())) == [2, 4, 1, 1, 3, 1, 1]


def test_after_the_import_everything_is_committed(owner):
    assert owner.git("status", "--porcelain") == ""
    assert "up to date" in owner.dvc("status")
    assert "\n+dataset: photos/flowers\n" in owner.git("log", "-p", "--", "params.yaml")


def test_another_machine_gets_all_and_runs_nothing(owner, tmp_path):
    shutil.copytree(owner.folder.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    # The committed address is that of the first machine; the photos are gone there.
    other = Clone(tmp_path / "other")
    other.folder.mkdir()
    printed = run(other, PULL, within=other.folder)
    other.path = other.folder / "flowers"
    assert "up to date" in printed
    assert ran(printed) == []
    assert other.git("status", "--porcelain") == ""
    assert other.outputs() == owner.outputs()
    # What the first machine computed with other settings comes too.
    assert (other.path / ".dvc/cache/runs").is_dir()


@pytest.mark.slow
def test_links_take_the_place_of_copies_and_nothing_runs_again(machine):
    run(machine, LINKS)
    photo = machine.path / "photos/flowers/red/000.jpg"
    # With reflinks it is a file of its own.
    if photo.stat().st_nlink > 1:
        assert photo.samefile(machine.path / "data/raw/red/000.jpg")
        assert not photo.stat().st_mode & 0o222
    assert ran(machine.dvc("repro")) == []
    assert ran(machine.dvc("exp", "run", "-S", "split.seed=1"))[:2] == ["resolve", "split"]


def test_dvc_takes_the_addresses_of_remotes(clone):
    for block in (SSH, S3):
        run(clone, block)
        assert block.split()[-1] in clone.dvc("remote", "list")
        clone.dvc("remote", "remove", "store")


def test_dvc_takes_the_address_of_another_s3_server(clone):
    run(clone, S3)
    run(clone, ENDPOINT)
    assert clone.dvc("config", "remote.store.endpointurl").strip() == ENDPOINT.split()[-1]
    clone.dvc("remote", "remove", "store")


@pytest.mark.slow
def test_two_branches_are_merged_and_the_results_are_those_of_the_merged_parameters(machine):
    machine.git("checkout", "--quiet", "-b", "other")
    machine.set(export__crops=1)
    machine.dvc("repro")
    machine.commit("The middle crop alone")
    machine.git("checkout", "--quiet", "main")
    machine.dvc("checkout")
    machine.set(lr=1e-4)
    machine.dvc("repro")
    machine.commit("A lower rate")
    merged = machine.attempt("git", "merge", "other")
    assert merged.returncode == 1
    assert "dvc.lock" in merged.stdout
    assert "params.yaml" in machine.git("diff", "--name-only", "--staged")
    run(machine, MERGE)
    assert machine.git("status", "--porcelain") == ""
    assert len(machine.git("rev-list", "--parents", "-n1", "HEAD").split()) == 3
    assert "up to date" in machine.dvc("status")
    assert "crops: 1" in machine.git("show", "HEAD:params.yaml")
    assert "lr: 0.0001" in machine.git("show", "HEAD:params.yaml")


def test_the_short_list_of_experiments_has_these_columns(clone):
    # Only resolve runs for it.
    clone.dvc("exp", "run", "--name", "strict", "-S", "gate.min_accuracy=0.6")
    rows = list(csv.DictReader(run(clone, SHOW.rstrip() + " --csv").splitlines()))
    names = [name.rpartition(":")[2] for name in rows[0]]
    assert sorted(names) == sorted(
        [
            "Experiment",
            "exported",
            "accuracy",
            "accuracy_low",
            "accuracy_high",
            "backbone",
            "lr",
        ]
    )
    table = run(clone, SHOW.rstrip() + " --md")
    assert {cell.strip().rpartition(":")[2] for cell in table.splitlines()[0].strip("|").split("|")} == SHOWN
    assert "strict" in table


@pytest.mark.slow
def test_a_queue_runs_two_experiments_at_a_time_and_a_result_is_taken_over(machine):
    run(machine, QUEUE)
    wait_for(machine, {"rate-1", "rate-2", "rate-3"})
    run(machine, APPLY)
    assert machine.git("status", "--porcelain") == ""
    assert "lr: 0.0001" in machine.git("show", "HEAD:params.yaml")
    assert ran(machine.dvc("repro")) == []


@pytest.mark.slow
def test_what_branches_and_experiments_need_is_not_collected(machine):
    machine.dvc("exp", "run", "--name", "slow", "-S", "lr=1e-4")
    model = (machine.path / "models/classifier.tflite").read_bytes()
    machine.git("checkout", "--quiet", ".")
    unused = machine.path / "unused"
    unused.write_text("in no commit")
    machine.dvc("add", unused)
    cached = machine.path / ".dvc/cache/files/md5"
    files = len(list(cached.rglob("*")))
    (machine.path / "unused.dvc").unlink()
    machine.dvc("checkout")
    run(machine, COLLECT)
    assert len([path for path in cached.rglob("*") if path.is_file()]) < files
    assert "slow" in experiments(machine)
    machine.dvc("exp", "apply", "slow")
    assert (machine.path / "models/classifier.tflite").read_bytes() == model


@pytest.mark.slow
def test_plots_need_no_network(machine, tmp_path):
    # The package is no dependency of Graft.
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "vl_convert.py").write_text(f"def javascript_bundle():\n    return {BUNDLE!r}\n")
    install, *rest = PLOTS.splitlines()
    assert install == "pip install vl-convert-python"
    run(machine, "\n".join(rest), PYTHONPATH=str(modules))
    page = (machine.path / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert BUNDLE in page
    assert "vegaEmbed(" in page
    assert re.findall(r"src=\"https?:|cdn", page) == []
    assert machine.git("status", "--porcelain") == ""


def test_the_page_is_short_and_its_lines_are_too():
    assert len(PAGE.splitlines()) <= 160
    assert [line for line in PAGE.splitlines() if len(line) > 120 and not line.startswith("python ")] == []
