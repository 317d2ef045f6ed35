"""Where the maps of fine-tuning come from, and that maps which are not stored are the same and leave nothing behind."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from graft.activations.engines import InThreads
from graft.activations.inference import Activations
from graft.activations.litert import Network, output_shape
from graft.activations.maps import maps_for_training
from graft.activations.requests import Pixels, Request
from graft.activations.store import Store
from graft.core import paths
from graft.core.files import sha256_of
from graft.images import augmentation
from graft.settings.extract import Extract

PIXELS = Pixels(16, "squash", augmentation.NEUTRAL | {"flip": "horizontal", "rotation": 15, "probability": 1})
# Of the maps (8, 8, 4) of the tests' network, in float16.
MAP_BYTES = 512


@pytest.fixture
def trunk(project, compiled):
    """A project with a compiled trunk."""
    paths.BACKBONE.mkdir(parents=True)
    paths.TRUNK.write_bytes(compiled.trunk.read_bytes())


@pytest.fixture
def requests(image_folder):
    files = sorted(image_folder.rglob("*.*"))
    return [Request(path, sha256_of(path), view) for path in files for view in (0, 1)]


def test_the_shape_of_a_networks_output_is_read_from_its_file(compiled):
    assert output_shape(compiled.trunk) == (8, 8, 4)
    assert output_shape(compiled.top) == (4,)


@pytest.mark.parametrize(("limit", "stored"), [(1000 * MAP_BYTES, False), (1200 * MAP_BYTES, True)])
def test_auto_stores_the_maps_if_the_stores_limit_is_large_enough(trunk, limit, stored):
    assert maps_for_training("auto", 1000, limit).stored == stored


def test_one_line_says_where_the_maps_are_and_why(trunk, monkeypatch):
    of_maps = "those of 1,000 images and views take about 563.2 KB"
    assert maps_for_training("auto", 1000).line == f"maps: stored; {of_maps}, and the store may have 20.0 GB"
    monkeypatch.setenv("GRAFT_STORE_LIMIT", "500KB")
    assert maps_for_training("auto", 1000).line == (
        f"maps: computed for each step; {of_maps}, more than the store's limit of 500.0 KB (GRAFT_STORE_LIMIT)"
    )
    assert maps_for_training("stored", 1000).line == "maps: stored, as fine_tune.maps says"


@pytest.mark.parametrize(("setting", "stored"), [("stored", True), ("computed", False)])
def test_what_the_setting_says_is_done_whatever_the_limit(setting, stored):
    assert [maps_for_training(setting, 10**9, limit).stored for limit in (1, 10**15)] == [stored] * 2


@pytest.mark.parametrize(
    ("setting", "engine", "expected"),
    [
        ("stored", "ray", ("ray", 128)),
        ("computed", "litert", ("litert", 64)),
        ("computed", "tensorflow", ("tensorflow", 64)),
        ("computed", "ray", ("litert", 64)),
    ],
)
def test_computed_maps_come_from_this_machine_in_batches_of_a_step(setting, engine, expected):
    settings = Extract(engine=engine, precision="float32", batch_size=128)
    found = maps_for_training(setting, 10).engine(settings, batch_size=64)
    assert (found.engine, found.batch_size) == expected


def activations(compiled, folder, stored=None, outputs=("map",)):
    networks = Network(*[getattr(compiled, {"map": "trunk", "features": "top"}[output]) for output in outputs])
    return Activations(InThreads(networks), outputs, PIXELS, Store(folder), stored)


def test_maps_that_are_not_stored_have_the_same_bytes_and_leave_no_file(compiled, requests, tmp_path):
    expected = activations(compiled, tmp_path / "store").read("map", requests)
    found = activations(compiled, tmp_path / "none", ()).read("map", requests)
    assert found.tobytes() == expected.tobytes()
    assert not (tmp_path / "none").exists()


def test_they_are_computed_each_time_and_follow_the_file(compiled, requests, tmp_path):
    of_maps = activations(compiled, tmp_path / "none", ())
    first = of_maps.read("map", requests[:2])
    np.testing.assert_array_equal(of_maps.read("map", requests[:2]), first)
    Image.new("RGB", (20, 20), "white").save(requests[0].path)
    assert not np.array_equal(of_maps.read("map", requests[:2]), first)


def test_features_are_stored_without_the_maps_that_they_come_from(compiled, requests, tmp_path):
    both = ("map", "features")
    assert activations(compiled, tmp_path / "store", ("features",), both).fill(requests) == len(requests)
    assert activations(compiled, tmp_path / "store", ("features",), both).fill(requests) == 0
    assert activations(compiled, tmp_path / "store").fill(requests) == len(requests)


def peak_bytes(of_maps, requests):
    """Return how far the memory grows while all maps are read, eight at a time."""
    of_maps.read("map", requests[:8])
    tracemalloc.start()
    for start in range(0, len(requests), 8):
        of_maps.read("map", requests[start : start + 8])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.no_cover  # its own memory grows
def test_memory_does_not_grow_with_the_number_of_maps(compiled, requests, tmp_path):
    few = [requests[0]._replace(view=view) for view in range(1, 33)]
    many = [requests[0]._replace(view=view) for view in range(1, 321)]
    first, second = (peak_bytes(activations(compiled, tmp_path / "none", ()), views) for views in (few, many))
    assert second < first + 50 * MAP_BYTES
