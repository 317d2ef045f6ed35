"""Remotes: a clone gets from a folder or an S3 server what another has computed, and runs no stage's script."""

import socket
from pathlib import Path

import boto3
import pytest
import yaml
from clones import ROOT, Clone, ran
from moto.server import ThreadedMotoServer

CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["pipeline"]["steps"]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
OTHER_RATE = 2e-3
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both_rates(finished, tmp_path_factory):
    """A clone that has the results of another learning rate in the branch `rate`."""
    clone = finished.copied(tmp_path_factory.mktemp("both_rates"))
    clone.git("checkout", "--quiet", "-b", "rate")
    clone.set(lr=OTHER_RATE)
    clone.dvc("repro")
    clone.commit("Another rate")
    clone.git("checkout", "--quiet", "main")
    clone.dvc("checkout")
    return clone


@pytest.fixture
def clone(both_rates, tmp_path):
    return both_rates.copied(tmp_path / "clone")


@pytest.fixture
def server():
    """The address of an S3 server on this machine, with the bucket `our-bucket`."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name=KEYS["AWS_DEFAULT_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="our-bucket")
    yield address
    running.stop()


@pytest.fixture
def unreachable():
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def use_s3(clone: Clone, address: str) -> None:
    clone.dvc("remote", "add", "--default", "store", "s3://our-bucket/flowers")
    clone.dvc("remote", "modify", "store", "endpointurl", address)
    clone.commit("DVC remote")


def second_machine(clone: Clone, folder: Path) -> Clone:
    """Return a fresh clone without a cache and without any activations."""
    other = clone.cloned(folder)
    assert not (other.path / ".cache").exists()
    return other


def pulled_and_run(clone: Clone, folder: Path) -> Clone:
    """Push both rates' results; pull on a second machine, where no script runs for either rate."""
    # DVC passes over a branch that is older than the remote: it reads the configuration of each branch.
    clone.git("checkout", "--quiet", "rate")
    clone.git("checkout", "--quiet", "main", "--", ".dvc/config")
    clone.commit("DVC remote")
    clone.git("checkout", "--quiet", "main")
    clone.run("dvc", "push", "--run-cache", "--all-branches", **KEYS)
    other = second_machine(clone, folder)
    other.run("dvc", "pull", "--run-cache", **KEYS)
    assert ran(other.dvc("repro")) == []
    assert {**other.outputs(), "data/source": None} == {**clone.outputs(), "data/source": None}
    other.git("checkout", "--quiet", "rate")
    other.run("dvc", "pull", "--run-cache", **KEYS)
    assert ran(other.dvc("repro")) == []
    assert f"lr: {OTHER_RATE}" in (other.path / "params.yaml").read_text()
    return other


def test_a_clone_runs_no_script_after_it_has_pulled_from_a_folder(clone, tmp_path):
    clone.dvc("remote", "add", "--default", "store", tmp_path / "remote")
    clone.commit("DVC remote")
    pulled_and_run(clone, tmp_path / "other")


def test_a_clone_runs_no_script_after_it_has_pulled_from_an_s3_server(clone, tmp_path, server):
    use_s3(clone, server)
    pulled_and_run(clone, tmp_path / "other")


def test_an_s3_server_that_does_not_answer_is_named_by_dvc_and_nothing_is_lost(clone, unreachable):
    use_s3(clone, unreachable)
    before = clone.outputs()
    for command in (("push", "--run-cache"), ("pull", "--run-cache")):
        done = clone.attempt("dvc", *command, **KEYS)
        assert done.returncode != 0
        assert unreachable in done.stderr
        assert "Traceback" not in done.stderr
    assert clone.outputs() == before


def test_ci_shows_why_the_remote_gave_nothing_and_goes_on(clone, tmp_path, unreachable):
    use_s3(clone, unreachable)
    other = second_machine(clone, tmp_path / "other")
    (other.path / ".venv/bin").mkdir(parents=True)
    (other.path / ".venv/bin/activate").touch()
    (step,) = (step["run"] for step in CI if step.get("name") == "Results from the DVC remote")
    done = other.attempt("bash", "-e", "-c", step, **KEYS)
    assert done.returncode == 0
    assert unreachable in done.stderr
    assert "::notice::not all results came from the DVC remote: they are computed" in done.stdout
