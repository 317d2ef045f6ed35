"""The engine ray: the bytes of litert, in order, whatever dies; what is stored is not computed again.

The slow tests share one cluster of two nodes, processes on this machine.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from types import ModuleType

import numpy as np
import pytest
import ray_counting

from graft.activations import ray_engine
from graft.activations.engines import InThreads, in_metrics
from graft.activations.inference import Activations
from graft.activations.litert import Network
from graft.activations.ray_engine import OnRay
from graft.activations.requests import Pixels, Request
from graft.activations.store import Store
from graft.core import packages
from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.images import augmentation, loader
from graft.images.decoder import UnreadableImageError
from graft.settings.extract import Extract

BOTH = ("map", "features")
AUGMENT = augmentation.NEUTRAL | {"flip": "horizontal", "rotation": 15, "probability": 1}
NODES = 2
BLOCK = 4


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, and two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The driver's modules, in workers that it did not start.
    before, os.environ["PYTHONPATH"] = os.environ.get("PYTHONPATH"), os.pathsep.join(sys.path)
    cluster = Cluster(head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    import ray

    ray.shutdown()
    cluster.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    """Ray's address is that of the cluster; blocks are small."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setattr(ray_engine, "BLOCK_VIEWS", BLOCK)
    monkeypatch.setattr(ray_engine, "PATIENCE", 120.0)
    return cluster


@pytest.fixture
def requests(image_folder):
    return [Request(path, sha256_of(path)) for path in sorted(image_folder.rglob("*.*"))]


@pytest.fixture
def engine(compiled):
    return OnRay([compiled.trunk, compiled.top])


@pytest.fixture
def reference(compiled):
    """Return a function of requests: the rows of litert."""
    network = InThreads(Network(compiled.trunk, compiled.top))
    return lambda requests, pixels: list(network.rows(BOTH, pixels, requests))


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Workers write down what they compute; return the pixels for that, and a function that counts."""
    monkeypatch.setattr(ray_engine, "run_block", ray_counting.counted_block)
    pixels = Pixels(16, "squash", AUGMENT | {"folder": str(tmp_path), "seconds": 0.3})
    return pixels, lambda: Counter((tmp_path / "computed").read_text().split())


def assert_same(found, expected):
    assert [request for request, _ in found] == [request for request, _ in expected]
    for (_, outcome), (_, other) in zip(found, expected, strict=True):
        assert outcome.keys() == other.keys()
        for name, array in outcome.items():
            assert (array.dtype, array.tobytes()) == (other[name].dtype, other[name].tobytes())


@pytest.mark.slow
def test_the_rows_are_those_of_litert_to_the_bit_and_in_order(on_cluster, engine, requests, reference):
    pixels = Pixels(16, "squash", AUGMENT)
    wanted = [request._replace(view=view) for view in (0, 1, 2) for request in requests]
    assert_same(list(engine.rows(BOTH, pixels, wanted)), reference(wanted, pixels))


@pytest.mark.slow
def test_an_unreadable_or_missing_image_is_a_row_with_the_reason(on_cluster, engine, requests, reference):
    pixels = Pixels(16, "squash")
    requests[5].path.write_bytes(b"no image")
    requests[6].path.unlink()
    found = list(engine.rows(BOTH, pixels, requests))
    reasons = {request.path: str(outcome) for request, outcome in found if isinstance(outcome, UnreadableImageError)}
    assert reasons.keys() == {requests[5].path, requests[6].path}
    assert f"{requests[5].path}: not a readable image" in reasons[requests[5].path]
    assert f"{requests[6].path}: cannot be read" in reasons[requests[6].path]
    others = requests[:5] + requests[7:]
    assert_same([row for row in found if row[0].path not in reasons], reference(others, pixels))


@pytest.mark.slow
def test_an_image_that_ends_each_worker_is_a_row_with_the_reason(on_cluster, engine, requests, counted, reference):
    path = requests[0].path.with_name("kills.png")
    shutil.move(requests[0].path, path)
    wanted = [Request(path, requests[0].sha256), *requests[1:8]]
    found = list(engine.rows(BOTH, counted[0], wanted))
    assert str(found[0][1]) == f"{path}: each worker of Ray that decodes it ends; remove it"
    assert_same(found[1:], reference(wanted[1:], counted[0]))


def test_blocks_are_small_in_views_and_bytes(requests, monkeypatch):
    monkeypatch.setattr(ray_engine, "BLOCK_VIEWS", 5)
    sizes = [sum(map(len, block)) for block in ray_engine._blocks([[request] * 3 for request in requests])]
    assert set(sizes) == {3}
    assert [len(block[0]) for block in ray_engine._blocks([requests[:1] * 12])] == [5, 5, 2]
    monkeypatch.setattr(ray_engine, "BLOCK_BYTES", requests[0].path.stat().st_size)
    assert max(map(len, ray_engine._blocks([[request] for request in requests]))) == 1


@pytest.mark.slow
def test_a_worker_with_other_versions_is_refused_in_one_line(on_cluster, engine, requests, monkeypatch):
    monkeypatch.setattr(loader, "VERSION", "4, Pillow 0.1")
    with pytest.raises(
        GraftError, match=r"^RAY_ADDRESS: .*: a worker has other versions than this machine \(loader is "
    ):
        list(engine.rows(BOTH, Pixels(16, "squash"), requests))


@pytest.mark.slow
def test_a_worker_without_graft_is_one_line(on_cluster, engine, requests, monkeypatch):
    elsewhere = ModuleType("graft_elsewhere")
    exec("def run_block(*arguments): pass", elsewhere.__dict__)
    monkeypatch.setitem(sys.modules, "graft_elsewhere", elsewhere)
    monkeypatch.setattr(ray_engine, "run_block", elsewhere.run_block)
    with pytest.raises(
        GraftError, match=r"^RAY_ADDRESS: .*: a worker lacks Graft \(.*graft_elsewhere.*\); install the "
    ):
        list(engine.rows(BOTH, Pixels(16, "squash"), requests))


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_costs_its_block_alone(on_cluster, engine, requests, counted, reference, tmp_path):
    (tmp_path / "kill one").touch()
    assert_same(list(engine.rows(BOTH, counted[0], requests)), reference(requests, counted[0]))
    assert not (tmp_path / "kill one").exists()
    counts = counted[1]()
    assert counts.keys() == {request.key for request in requests}
    assert BLOCK <= counts.total() - len(counts) <= BLOCK * NODES


@pytest.mark.slow
def test_a_cluster_that_does_nothing_ends_the_run_in_bounded_time(on_cluster, engine, requests, monkeypatch, counted):
    monkeypatch.setattr(ray_engine, "PATIENCE", 1.0)
    pixels = Pixels(16, "squash", counted[0].augment | {"seconds": 30})
    with pytest.raises(
        GraftError, match=r"^RAY_ADDRESS: .*: it has finished no block of images for 1 seconds; look at "
    ):
        list(engine.rows(BOTH, pixels, requests))


@pytest.mark.slow
def test_a_node_lost_in_mid_run_costs_its_block_alone(on_cluster, engine, requests, counted, reference):
    node = on_cluster.add_node(num_cpus=1)
    on_cluster.wait_for_nodes()
    found = []
    try:
        for row in engine.rows(BOTH, counted[0], requests):
            found.append(row)
            if len(found) == 2 * BLOCK:
                on_cluster.remove_node(node, allow_graceful=False)
    finally:
        on_cluster.wait_for_nodes()
    assert_same(found, reference(requests, counted[0]))
    counts = counted[1]()
    assert counts.keys() == {request.key for request in requests}
    assert counts.total() - len(counts) <= BLOCK * NODES


DRIVER = """\
import sys
from pathlib import Path
import ray_counting
from graft.activations import inference, ray_engine
from graft.activations.requests import Pixels, Request
from graft.activations.store import Store
from graft.core.files import sha256_of
from graft.images import augmentation

folder, seconds, trunk, top = Path(sys.argv[1]), float(sys.argv[2]), *map(Path, sys.argv[3:])
inference.RECORDS_PER_TRANSACTION = ray_engine.BLOCK_VIEWS = 4
ray_engine.run_block = ray_counting.counted_block
files = sorted((folder / "photos").rglob("*.*"))
pixels = Pixels(16, "squash", augmentation.NEUTRAL | {"folder": str(folder), "seconds": seconds})
with Store(folder / "store") as store:
    activations = inference.Activations(ray_engine.OnRay([trunk, top]), ("map", "features"), pixels, store)
    print(activations.fill([Request(path, sha256_of(path)) for path in files]))
"""


def test_without_an_address_a_cluster_on_this_machine_gives_the_bytes_of_litert(
    requests, compiled, tmp_path, reference, run_python, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    requests[3].path.write_bytes(b"no image")
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    tests = os.pathsep.join(sys.path)
    result = run_python(script, tmp_path, 0, compiled.trunk, compiled.top, PYTHONPATH=tests)
    # All but the one that cannot be read are in the store.
    assert result.stderr.splitlines()[-1].startswith("graft.images.decoder.UnreadableImageError: ")
    assert f"{requests[3].path}: not a readable image" in result.stderr
    readable, pixels = [*requests[:3], *requests[4:]], Pixels(16, "squash")
    with Store(tmp_path / "store") as store:
        stored = Activations(OnRay([compiled.trunk, compiled.top]), BOTH, pixels, store)
        assert stored.fill(readable) == 0
        expected = [outcome["features"] for _, outcome in reference(readable, pixels)]
        np.testing.assert_array_equal(stored.read("features", readable), expected)


@pytest.mark.slow
def test_a_driver_killed_and_started_again_goes_on_from_the_store(
    on_cluster, requests, compiled, tmp_path, reference, run_python
):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    arguments = [tmp_path, 0.3, compiled.trunk, compiled.top]
    first = subprocess.Popen([sys.executable, script, *map(str, arguments)], env=os.environ)
    count = tmp_path / "computed"
    deadline = time.monotonic() + 120
    while not count.exists() or len(count.read_text().split()) < 5 * BLOCK:
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = subprocess.run(
        [sys.executable, script, *map(str, arguments)], env=os.environ, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert 0 < int(again.stdout) < len(requests)
    counts = Counter(count.read_text().split())
    assert counts.keys() == {request.key for request in requests}
    # What was on its way, and what was not yet written.
    assert counts.total() - len(counts) <= BLOCK * (ray_engine.BLOCKS_PER_CPU * NODES + 1)
    pixels = Pixels(16, "squash")
    with Store(tmp_path / "store") as store:
        stored = Activations(OnRay([compiled.trunk, compiled.top]), BOTH, pixels, store)
        assert stored.fill(requests) == 0
        expected = [outcome["features"] for _, outcome in reference(requests, pixels)]
        np.testing.assert_array_equal(stored.read("features", requests), expected)


def test_a_worker_imports_neither_tensorflow_nor_ray(run_python):
    script = (
        "import sys, graft.activations.ray_worker; sys.exit(bool({'tensorflow', 'keras', 'ray'} & set(sys.modules)))"
    )
    assert run_python("-c", script).returncode == 0


def test_without_requests_no_cluster_is_asked(engine, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert list(engine.rows(BOTH, Pixels(16, "squash"), [])) == []


def test_metrics_name_the_engine():
    assert in_metrics(Extract(engine="ray", precision="float32", batch_size=1)) == {
        "engine": f"{Network.engine} on Ray"
    }


@pytest.fixture
def disconnected(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "127.0.0.1:port"])
def test_what_is_no_address_is_one_line(disconnected, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(GraftError, match=r"^RAY_ADDRESS: '.*' is no address of a cluster; give host:port, as "):
        ray_engine.connect()


def test_an_unreachable_cluster_is_one_line(disconnected, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(
        GraftError, match=r"^RAY_ADDRESS: no cluster answers at 127\.0\.0\.1:9 \(.*refused\); start one by"
    ):
        ray_engine.connect()


def test_another_server_than_rays_is_one_line(disconnected, monkeypatch):
    monkeypatch.setattr(ray_engine, "CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(GraftError, match=r"^RAY_ADDRESS: no cluster answers at "):
            ray_engine.connect()


def test_without_ray_it_is_one_line(compiled, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(
        GraftError, match=r"^extract\.engine: the package ray is not installed; run pip install .*\[ray\]"
    ):
        OnRay([compiled.trunk])


def test_a_cluster_that_starts_too_slowly_is_one_line(monkeypatch):
    import ray

    def fail(**options):
        raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(GraftError, match=r"^extract\.engine: Ray's cluster on this machine: .*timed out during"):
        ray_engine.connect()
