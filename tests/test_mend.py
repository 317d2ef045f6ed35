"""`graft mend`: what DVC leaves half written when it is killed is repaired, and nothing else is touched."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from one_stage import commit, write

from graft.__main__ import command
from graft.commands import mend
from graft.core.errors import GraftError

USERS, LOCK = Path(".dvc/tmp/rwlock"), Path("dvc.lock")
DVC = [sys.executable, "-m", "dvc"]


def dvc(*arguments):
    return subprocess.run([*DVC, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A repository of one stage that has run; dvc.lock is committed. It is the current folder of no test."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        Path("params.yaml").write_text("lr: 0.1\nseed: 0\nsplit: {fold: 0}\n")
        write()
        commit(folder / "home", patch.setenv)
        assert dvc("repro").returncode == 0
        subprocess.run(["git", "add", "."], check=True)
        subprocess.run(["git", "commit", "-q", "-m", "Results"], check=True)
        yield folder


@pytest.fixture
def repository(finished, tmp_path, monkeypatch):
    """A copy of the finished repository, the current folder."""
    folder = tmp_path / "repository"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def test_whole_files_stay_as_they_are_and_nothing_is_printed(repository, capsys):
    before = USERS.read_bytes(), LOCK.read_bytes()
    assert not command(["mend"])
    assert (USERS.read_bytes(), LOCK.read_bytes()) == before
    assert capsys.readouterr().out == ""


@pytest.fixture
def dangling(project):
    """Return data/source of a project: a link to imported photos that are not here, as in a clone before a pull."""
    for folder in ("photos", "data"):
        Path(folder).mkdir()
    Path("photos/our flowers.dvc").write_text("outs: []\n")
    link = Path("data/source")
    link.symlink_to("../photos/our flowers")
    return link


def test_photos_that_are_not_pulled_are_one_line_with_the_command(dangling, project):
    project.set(dataset="photos/our flowers")
    with pytest.raises(
        GraftError, match=r"is under DVC, but not here yet; `dvc pull 'photos/our flowers\.dvc'` fetches"
    ):
        command(["mend"])
    assert dangling.is_symlink()


def test_a_link_to_photos_that_are_not_here_goes_where_another_data_set_is_chosen(dangling, project, capsys):
    project.set(dataset="digits")
    command(["mend"])
    assert not dangling.is_symlink()
    assert capsys.readouterr().out == "data/source: a link that leads nowhere, deleted; `resolve` writes it anew\n"


def test_a_pipe_that_came_into_the_photos_after_resolve_is_one_line_with_its_path(project):
    """DVC reads the folder before it runs the first stage, and waits for ever at a pipe."""
    for folder in ("photos/red", "data"):
        Path(folder).mkdir(parents=True)
    Path("data/source").symlink_to("../photos")
    command(["mend"])
    os.mkfifo("photos/red/pipe.jpg")
    with pytest.raises(GraftError, match=r"^data/source: red/pipe\.jpg is neither a file nor a folder; remove it$"):
        command(["mend"])


@pytest.mark.parametrize("content", [b"", b'{"read": {', b'{"read": {"a": [{"pid"', b"[]", b'{"read": {"a": [{}]}}'])
def test_a_cut_rwlock_is_deleted(repository, content, capsys):
    USERS.write_bytes(content)
    command(["mend"])
    assert capsys.readouterr().out == ".dvc/tmp/rwlock: damaged, deleted; DVC was killed, and writes it anew\n"
    assert not USERS.exists()


def test_dvc_refuses_a_cut_rwlock_and_works_after_it_is_repaired(repository):
    USERS.write_bytes(b"")
    LOCK.unlink()  # so that DVC has something to do
    assert dvc("repro").returncode != 0
    command(["mend"])
    assert dvc("repro").returncode == 0


def test_an_rwlock_that_names_a_number_which_another_process_got_later_is_deleted(repository, capsys):
    user = {"pid": os.getpid(), "cmd": "dvc repro"}
    USERS.write_text(json.dumps({"read": {}, "write": {str(repository / "metrics"): user}}))
    os.utime(USERS, (0, 0))
    LOCK.unlink()
    assert "busy" in dvc("repro").stderr
    command(["mend"])
    assert capsys.readouterr().out.startswith(".dvc/tmp/rwlock: damaged, deleted")
    assert not USERS.exists()


def test_an_rwlock_that_names_a_living_process_stays(repository, capsys):
    user = {"pid": os.getpid(), "cmd": "dvc repro"}
    USERS.write_text(json.dumps({"read": {"a": [user]}, "write": {}}))
    command(["mend"])
    assert capsys.readouterr().out == ""
    assert USERS.exists()


# As a share of the file, or by what it then ends with.
@pytest.mark.parametrize("cut", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, "md5:", "outs:\n", "stages:\n"])
def test_a_cut_dvc_lock_comes_from_the_last_commit(repository, cut, capsys):
    whole = LOCK.read_text()
    end = int(len(whole) * cut) if isinstance(cut, float) else whole.rindex(cut) + len(cut)
    LOCK.write_text(whole[:end])
    command(["mend"])
    assert capsys.readouterr().out == (
        "dvc.lock: damaged, taken from the last commit; `dvc repro` brings back from its run cache what ran since\n"
    )
    assert LOCK.read_text() == whole


@pytest.mark.parametrize("committed", ["none", "a cut one"])
def test_a_cut_dvc_lock_without_a_whole_one_in_git_is_deleted_and_the_run_cache_brings_all_back(
    repository, committed, capsys
):
    whole = LOCK.read_bytes()
    if committed == "none":
        subprocess.run(["git", "rm", "-q", "--cached", "dvc.lock"], check=True)
        subprocess.run(["git", "commit", "-q", "-m", "Without"], check=True)
        LOCK.write_bytes(b"")
    else:
        LOCK.write_bytes(whole[:100])
        subprocess.run(["git", "commit", "-q", "-a", "-m", "Cut"], check=True)
    command(["mend"])
    assert "dvc.lock: damaged, deleted, for git has none that is whole; `dvc repro`" in capsys.readouterr().out
    done = dvc("repro")
    assert "Running stage" not in done.stdout
    assert LOCK.read_bytes() == whole


def test_a_cut_file_stays_while_dvc_runs_here(repository):
    script = Path("stages/evaluate.py")
    script.write_text(f"import time; open('started', 'w'); time.sleep(60)\n{script.read_text()}")
    with subprocess.Popen([*DVC, "repro"], stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            while not Path("started").exists():
                assert process.poll() is None
                time.sleep(0.1)
            USERS.write_bytes(b"")
            with pytest.raises(
                GraftError, match=rf"rwlock: damaged, or in use: DVC runs here as process {process.pid};"
            ):
                command(["mend"])
            assert USERS.exists()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_cut_file_stays_while_dvc_holds_its_locks(repository, monkeypatch):
    monkeypatch.setattr(mend, "WAIT_SECONDS", 0.2)
    hold = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"
    )
    for guard in (mend.COMMAND_GUARD, mend.USERS_GUARD):
        holder = [sys.executable, "-c", hold, str(guard)]
        with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"held\n"
            LOCK.write_bytes(b"")
            with pytest.raises(GraftError, match=r"^dvc\.lock: damaged, or in use: DVC runs here; run again"):
                command(["mend"])
            assert LOCK.read_bytes() == b""
            process.stdin.close()
            LOCK.unlink()


def test_without_a_repository_of_dvc_there_is_nothing_to_repair(project, capsys):
    LOCK.write_bytes(b"")
    assert not command(["mend"])
    assert LOCK.exists()
    assert capsys.readouterr().out == ""
