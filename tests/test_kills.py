"""SIGKILL at any moment of `dvc repro`: after `graft mend` it goes on, and ends with the same hashes."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

import pytest
import yaml
from clones import experiments, ran

from stages import fine_tune

PATIENCE_SECONDS = 600
# Python imports this file when it starts, in DVC as in the stages. When KILL_PATH is opened to be written, for the
# KILL_COUNT-th time, the whole process group is killed KILL_DELAY seconds later.
KILL_AT_A_WRITE = """
import os, signal, sys, time

path, count, delay = os.environ["KILL_PATH"], int(os.environ["KILL_COUNT"]), float(os.environ["KILL_DELAY"])
opened = 0

def hook(event, arguments):
    global opened
    if event == "open" and isinstance(arguments[0], str) and arguments[0].endswith(path):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR):
            opened += 1
            if opened == count and os.fork() == 0:
                time.sleep(delay)
                os.killpg(0, signal.SIGKILL)

sys.addaudithook(hook)
"""
# What DVC writes in place, and the last of its writes that is chosen.
WRITES = {".dvc/tmp/rwlock": 40, "dvc.lock": 4}


@dataclass
class Kill:
    """A kill some seconds after the start, or after the `count`-th time that DVC opens a file to write it."""

    delay: float
    path: str = ""
    count: int = 0

    @classmethod
    def random(cls, generator: random.Random) -> "Kill":
        if path := generator.choice(["", "", *WRITES, "dvc.lock"]):
            return cls(generator.uniform(0, 0.01), path, generator.randint(1, WRITES[path]))
        return cls(generator.uniform(0.2, 9))


def start(clone, *command, **variables):
    """Start a command in a process group of its own; its output goes to the file `log`."""
    with (clone.folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=clone.path,
            env=clone.environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def log_of(clone):
    return (clone.folder / "log").read_text(encoding="utf-8", errors="replace")


def killed(clone, kill):
    """Run `dvc repro` with this kill; return whether it was killed before it ended."""
    variables = {}
    if kill.path:
        hooks = clone.folder / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "sitecustomize.py").write_text(KILL_AT_A_WRITE)
        variables = {"PYTHONPATH": str(hooks), "KILL_PATH": kill.path}
        variables |= {"KILL_COUNT": str(kill.count), "KILL_DELAY": str(kill.delay)}
    process = start(clone, "dvc", "repro", **variables)
    try:
        process.wait(PATIENCE_SECONDS if kill.path else kill.delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode in (0, -signal.SIGKILL), f"{kill}\n{log_of(clone)}"
    return process.returncode != 0


def results(clone):
    """Return the hash of each output and what dvc.lock says of each stage."""
    # This link leads to images of the clone's own.
    outputs = clone.outputs() | {"data/source": None}
    return outputs, yaml.safe_load((clone.path / "dvc.lock").read_text(encoding="utf-8"))


def forget(clone):
    """Bring a clone to the state in which nothing has run: no outputs, no cache, no store; nothing in dvc.lock."""
    clone.git("reset", "--quiet", "--hard")
    clone.git("clean", "--quiet", "-fdx")
    (clone.path / "dvc.lock").unlink()
    shutil.rmtree(clone.folder / "site", ignore_errors=True)


def survive(clone, expected, kills, in_a_row, generator):
    """Kill `dvc repro` that often, up to `in_a_row` times in one run of all stages; each must end as expected.

    Returns
    -------
    How many kills there were for each kind: at a time, or at a write of a file; and how many files were repaired.
    """
    counts, repaired, total = {}, 0, 0
    while total < kills:
        forget(clone)
        for _ in range(min(in_a_row, kills - total)):
            kill = Kill.random(generator)
            done = killed(clone, kill)
            total += done
            counts[kill.path or "time"] = counts.get(kill.path or "time", 0) + done
            # As `make repro` does.
            lines = clone.run("python", "-m", "graft", "mend").splitlines()
            assert all(re.match(r"(dvc\.lock|\.dvc/tmp/rwlock): damaged, ", line) for line in lines), lines
            repaired += len(lines)
            if not done:
                break
        clone.dvc("repro")
        assert results(clone) == expected, kill
        print(f"{total} of {kills} kills: {counts}, {repaired} files repaired", flush=True)
    return counts, repaired


@pytest.mark.slow
def test_a_run_that_is_killed_six_times_ends_with_the_same_hashes(finished, clone):
    expected = results(finished)
    survive(clone, expected, kills=6, in_a_row=6, generator=random.Random(4))


@pytest.mark.slow
@pytest.mark.kills
def test_a_hundred_kills_over_all_stages_and_the_writes_of_dvc_lose_nothing(finished, clone):
    counts, repaired = survive(clone, results(finished), kills=100, in_a_row=10, generator=random.Random(28))
    assert sum(counts.values()) >= 100
    assert all(counts[kind] >= 5 for kind in ("time", *WRITES))
    assert repaired >= 5


def test_kills_at_a_time_and_while_dvc_writes_its_own_files_are_repaired(finished, clone):
    """Whatever such kills leave, from nothing to the whole file, the next run ends with the same hashes."""
    for kill in (Kill(4), *(Kill(0.0005, path, 2) for path in WRITES)):
        # Another name each time: there is something to run.
        clone.set(display_names={"red": f"killed at {kill.path}"})
        # A fast machine may be ready before the time of the first.
        assert killed(clone, kill) or not kill.path
        clone.run("python", "-m", "graft", "mend")
    clone.git("checkout", "--quiet", "params.yaml")
    clone.dvc("repro")
    assert results(clone) == results(finished)


def wait_until(condition, process, clone):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, log_of(clone)
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("maps", ["stored", "computed"])
def test_fine_tuning_goes_on_from_its_checkpoint_and_gives_the_same_bytes(clone, tmp_path, maps):
    clone.set(fine_tune__epochs=40, fine_tune__dropout=0.2, fine_tune__maps=maps)
    clone.dvc("repro", "train_head")
    whole = clone.copied(tmp_path / "whole")
    whole.dvc("repro", "fine_tune")
    process = start(clone, "dvc", "repro", "fine_tune")
    wait_until(lambda: list(clone.path.glob(".cache/fine_tune/*.npz")), process, clone)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    output = clone.dvc("repro", "fine_tune")
    assert re.search(r"^training goes on after epoch \d+, where an earlier run ended$", output, re.MULTILINE)
    assert results(clone) == results(whole)
    assert not list(clone.path.glob(".cache/fine_tune/*"))


def test_without_resume_no_checkpoint_is_written(clone, monkeypatch):
    clone.set(fine_tune__resume=False)
    shutil.rmtree(clone.path / ".cache/fine_tune")
    monkeypatch.chdir(clone.path)
    for name in ("DVC_ROOT", "GRAFT_STORE"):
        monkeypatch.delenv(name, raising=False)
    fine_tune.main()
    assert not (clone.path / ".cache/fine_tune").exists()


def test_a_second_repro_at_the_same_time_is_refused_and_the_first_loses_nothing(finished, clone):
    process = start(clone, "dvc", "repro", "--force", "--single-item", "export")
    wait_until(lambda: ran(log_of(clone)), process, clone)
    second = clone.attempt("dvc", "repro")
    assert second.returncode != 0
    assert re.search(r"Unable to acquire lock|is busy, it is being blocked by", second.stderr), second.stderr
    assert process.wait(PATIENCE_SECONDS) == 0, log_of(clone)
    assert ran(clone.dvc("repro")) == []
    assert results(clone) == results(finished)


@pytest.mark.slow
def test_two_experiments_on_one_store_give_what_each_gives_alone(clone, tmp_path):
    settings = {"one": "augment.rotation=20", "two": "augment.zoom=0.1"}
    alone = clone.copied(tmp_path / "alone")
    for name, setting in settings.items():
        alone.dvc("exp", "run", "--temp", "--name", name, "-S", setting)
    shutil.rmtree(clone.path / ".cache")
    running = []
    for name, setting in settings.items():
        running.append(start(clone, "dvc", "exp", "run", "--temp", "--name", name, "-S", setting))
        # DVC sets up one temporary clone at a time.
        wait_until(lambda: ran(log_of(clone)), running[-1], clone)
    assert [process.wait(PATIENCE_SECONDS) for process in running] == [0, 0], log_of(clone)
    for name in settings:
        locks = [yaml.safe_load(place.git("show", f"{experiments(place)[name]}:dvc.lock")) for place in (clone, alone)]
        assert locks[0] == locks[1]


# All of a clone is on a disk of 40 MB with so many KB free. What is there at the end goes to a second folder.
ON_A_SMALL_DISK = """
    folder=$1 left=$2 free=$3
    cp -a "$folder" "$left" && mount -t tmpfs -o size=40m tmpfs "$folder" && cp -a "$left/." "$folder" || exit 99
    cd "$folder/repository"
    head -c $(($(df --output=avail -k . | tail -1) - free))K /dev/zero > ../filler
    dvc repro > "$left.log" 2>&1
    status=$?
    rm ../filler
    python -m graft mend && dvc repro || exit 98
    rm -r "$left" && cp -a "$folder" "$left"
    exit $status
"""


@pytest.mark.slow
@pytest.mark.parametrize("free", [100, 2000, 3000])
def test_on_a_disk_of_40_megabytes_that_is_full_repro_fails_and_goes_on_once_there_is_room(
    finished, clone, tmp_path, free
):
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    forget(clone)
    left = tmp_path / "left"
    done = clone.attempt(*private, "sh", "-c", ON_A_SMALL_DISK, "sh", clone.folder, left, free, within=tmp_path)
    log = (tmp_path / "left.log").read_text(encoding="utf-8")
    assert done.returncode not in (0, 98, 99), done.stdout + done.stderr + log
    assert "Traceback" not in log
    assert re.search("the disk is full|No space left on device|database or disk is full", log), log
    shutil.rmtree(clone.folder)
    left.rename(clone.folder)
    assert results(clone) == results(finished)
