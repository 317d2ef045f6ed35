"""Many experiments at once: a queue with two workers, and jobs of Slurm or Kubernetes, which share one store."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from clones import ROOT, SMALL, Clone, experiments, ran, wait_for

from graft.activations.store import Store, Verdict

SECTION = (
    (ROOT / "docs/scale.md").read_text(encoding="utf-8").partition("\n## Many experiments")[2].partition("\n## ")[0]
)
# Each with its language.
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
((_, SETTINGS), (_, SCRIPT), (_, SUBMISSION), (_, JOB), (_, TAKEN)) = BLOCKS
JOB_POD = yaml.safe_load(JOB)["spec"]["template"]["spec"]
(CONTAINER,) = JOB_POD["containers"]


def computed(output: str) -> int:
    """Return how many activations stages say that they have computed."""
    return sum(int(number) for number in re.findall(r"(\d+) computed now", output))


def stored(folder: Path) -> int:
    """Return the views of which the store has maps; all its records are whole."""
    with Store(folder) as store:
        verdict = store.verify()
        assert verdict == Verdict(verdict.whole, 0, 0)
        return sum(each.records for each in store.contents() if each.description.startswith("output map"))


@pytest.fixture(scope="module")
def owner(tmp_path_factory, write_image_folder):
    """A repository with imported photos and its results; the files of the recipes; a remote of DVC and one of git."""
    folder = tmp_path_factory.mktemp("owner")
    clone = Clone.of_working_files(folder)
    write_image_folder(clone.photos, count=20)
    clone.set(**SMALL | {"dataset": "digits"})
    clone.run("python", "-m", "graft", "import", clone.photos)
    (clone.path / "experiments.txt").write_text(SETTINGS)
    (clone.path / "experiment.sh").write_text(SCRIPT)
    clone.dvc("remote", "add", "--default", "store", folder / "remote")
    clone.dvc("repro")
    clone.commit("Results")
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", folder / "origin.git"], check=True)
    clone.git("remote", "add", "origin", folder / "origin.git")
    clone.git("push", "--quiet", "--set-upstream", "origin", "main")
    clone.dvc("push", "--run-cache")
    return clone


def job(owner: Clone, folder: Path, **given: str) -> subprocess.CompletedProcess:
    """Run experiment.sh as a scheduler does, outside of the repository."""
    given |= {"TMPDIR": str(folder), "REPOSITORY": str(owner.folder / "origin.git"), "EXPERIMENTS": "rates"}
    return owner.attempt("bash", owner.path / "experiment.sh", within=folder, **given)


@pytest.mark.slow
def test_two_workers_of_a_queue_share_a_store_and_compute_nothing_twice(owner, tmp_path):
    store = tmp_path / "shared"
    # Other views than those of the run before: both experiments lack them.
    settings = ("-S", "augment.rotation=20", "-S", "lr=1e-3,2e-3")
    owner.dvc("exp", "run", "--queue", "--name", "queued", *settings)
    # Without the pipes of this process: a worker of DVC sometimes does not end, and would hold them.
    owner.run("bash", "-c", "dvc queue start --jobs 2 > /dev/null 2>&1", GRAFT_STORE=str(store))
    wait_for(owner, {"queued-1", "queued-2"})
    logs = "".join(owner.dvc("queue", "logs", name) for name in ("queued-1", "queued-2"))
    assert 0 < computed(logs) == stored(store)


@pytest.mark.slow
def test_jobs_of_slurm_and_kubernetes_run_one_experiment_each_and_share_a_store(owner, tmp_path):
    store = tmp_path / "shared"
    jobs = [
        job(owner, tmp_path, GRAFT_STORE=str(store), **index)
        for index in ({"SLURM_ARRAY_TASK_ID": "0"}, {"JOB_COMPLETION_INDEX": "1"})
    ]
    assert [each.returncode for each in jobs] == [0, 0], [each.stderr for each in jobs]
    # The remote has all that does not depend on the rate.
    assert [{"extract", "train_head"} & set(ran(each.stdout)) for each in jobs] == [set(), set()]
    assert computed(jobs[0].stdout) == stored(store) > 0
    assert computed(jobs[1].stdout) == 0
    # The clone of each is gone.
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
    owner.run("bash", "-e", "-c", TAKEN.replace(" rates-2", ""))
    rates = [owner.git("show", f"{experiments(owner)[name]}:params.yaml") for name in ("rates-0", "rates-1")]
    assert ["lr: 0.0001" in each for each in rates] == [True, False]


@pytest.mark.slow
def test_a_job_without_a_line_of_its_own_ends_in_one_line(owner, tmp_path):
    done = job(owner, tmp_path, JOB_COMPLETION_INDEX="3")
    assert (done.returncode, done.stderr) == (1, "experiments.txt has no line 4\n")


def test_both_recipes_number_each_line_and_give_the_script_what_it_reads():
    lines = SETTINGS.splitlines()
    read = set(re.findall(r"\$\{?([A-Z_]+)", SCRIPT)) - {"SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"}
    assert f"--array=0-{len(lines) - 1} " in SUBMISSION
    assert {*re.findall(r"([A-Z_]+)=", SUBMISSION)} == read | {"GRAFT_STORE"}
    job = yaml.safe_load(JOB)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", len(lines))
    assert {entry["name"] for entry in CONTAINER["env"]} == read | {"GRAFT_STORE"}
    assert [Path(part).name for part in CONTAINER["command"]] == ["bash", "experiment.sh"]
    # What a container writes elsewhere is gone with it.
    store = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}["GRAFT_STORE"]
    assert [mount["mountPath"] for mount in CONTAINER["volumeMounts"]] == [store]
    assert [mount["name"] for mount in CONTAINER["volumeMounts"]] == [volume["name"] for volume in JOB_POD["volumes"]]


def test_each_line_is_settings_that_the_pipeline_takes(project):
    from graft.settings import params

    for line in SETTINGS.splitlines():
        changes = dict(setting.replace(".", "__").split("=") for setting in line.split())
        project.set(**{key: float(value) for key, value in changes.items()})
        assert params.load()
