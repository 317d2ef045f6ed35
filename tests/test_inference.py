"""The inference loop: every image and view is computed once; stored and computed numbers are the same."""

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image

from graft.activations import requests as requests_module
from graft.activations.engines import InThreads
from graft.activations.inference import Activations
from graft.activations.litert import Network
from graft.activations.requests import Pixels, Request
from graft.activations.store import Store
from graft.core.errors import GraftError
from graft.core.files import sha256_of
from graft.images import augmentation, loader
from graft.settings.params import Augment

AUGMENT = augmentation.NEUTRAL | {"flip": "horizontal", "rotation": 15, "zoom": 0.1, "shift": 0.1}
AUGMENT |= {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "probability": 1}
PIXELS = Pixels(16, "squash", AUGMENT)


class CountingNetwork(Network):
    """A network that counts how often it runs."""

    runs = 0

    def __call__(self, image):
        self.runs += 1
        return super().__call__(image)


@pytest.fixture
def network(compiled):
    return CountingNetwork(compiled.trunk, compiled.top)


@pytest.fixture
def requests(image_folder):
    return [Request(path, sha256_of(path)) for path in sorted(image_folder.rglob("*.*"))]


@pytest.fixture
def activations(tmp_path, network):
    """Return a function of requests: how many it computed into a store of that name, and the bytes of both outputs."""
    opened = []

    def read(requests, folder="store", pixels=PIXELS, fill=True):
        store = Store(tmp_path / folder)
        opened.append(store)
        both = Activations(InThreads(network), ("map", "features"), pixels, store)
        number = both.fill(requests) if fill else None
        return number, [both.read(output, requests).tobytes() for output in ("map", "features")]

    yield read
    for store in opened:
        store.close()


@pytest.fixture
def image_readings(monkeypatch):
    """How often each image file is read."""
    readings = Counter()
    read = loader.read

    def counted(path, size, resize):
        readings[path] += 1
        return read(path, size, resize)

    monkeypatch.setattr(loader, "read", counted)
    return readings


def views(requests, numbers):
    return [request._replace(view=number) for number in numbers for request in requests]


def test_outputs_come_in_the_order_of_the_requests(tmp_path, network, requests):
    with Store(tmp_path / "store") as store:
        computing = Activations(InThreads(network), ("map", "features"), Pixels(16, "squash"), store)
        computing.fill(requests)
        for order in (requests, requests[::-1]):
            expected = [network(loader.load(request.path, 16, "squash")) for request in order]
            features, maps = computing.read("features", order), computing.read("map", order)
            assert (features.shape, features.dtype) == ((36, 4), np.float32)
            assert (maps.shape, maps.dtype) == ((36, 8, 8, 4), np.float16)
            np.testing.assert_array_equal(features, [outputs[1] for outputs in expected])
            np.testing.assert_array_equal(maps, [outputs[0].astype(np.float16) for outputs in expected])


def test_every_image_is_computed_once(activations, network, requests):
    assert activations(requests)[0] == 36
    assert activations(requests)[0] == 0
    assert network.runs == 36


def test_warm_equals_cold_to_the_byte(activations, requests):
    cold = activations(requests)[1]
    warm = activations(requests)[1]
    never_stored = activations(requests, "other")[1]
    assert cold == warm == never_stored


def test_an_image_more_leaves_the_old_rows_and_costs_one_image(activations, requests):
    old = activations(requests[1:])[1]
    computed, new = activations(requests)
    assert computed == 1
    for earlier, now in zip(old, new, strict=True):
        assert now.endswith(earlier)


def test_copies_of_a_file_are_computed_once_and_each_has_its_row(activations, network, requests):
    path, sha256, _ = requests[0]
    copy = path.with_name("copy" + path.suffix)
    shutil.copy(path, copy)
    computed, (maps, features) = activations([*requests, Request(copy, sha256)])
    assert computed == network.runs == 36
    row = len(features) // 37
    assert features[:row] == features[-row:]
    assert maps


def test_a_file_with_copies_is_read_once_for_all_its_views(activations, requests, image_readings):
    path, sha256, _ = requests[0]
    copy = path.with_name("copy" + path.suffix)
    shutil.copy(path, copy)
    wanted = [Request(path, sha256, 0), Request(copy, sha256, 1), Request(path, sha256, 2)]
    assert activations(wanted)[0] == 3
    assert image_readings.total() == 1


def test_a_file_of_the_same_name_with_other_content_is_another_image(activations, requests):
    path = requests[0].path
    activations(requests)
    shutil.copy(requests[-1].path, path)
    assert activations([Request(path, "0" * 64)])[0] == 1


def test_each_view_is_computed_once_and_its_image_is_read_once(activations, requests, image_readings):
    assert activations(views(requests, range(4)))[0] == 4 * 36
    assert set(image_readings.values()) == {1}
    assert activations(views(requests, range(4)))[0] == 0


def test_more_views_leave_the_ones_there_are(activations, requests):
    assert activations(views(requests, range(3)))[0] == 3 * 36
    assert activations(views(requests, range(5)))[0] == 2 * 36


def test_a_view_is_the_same_alone_and_among_others(activations, requests):
    (_, together) = activations(views(requests[:3], range(4)))[1]
    (_, alone) = activations(views(requests[1:2], [2]), "other")[1]
    row = len(together) // 12
    assert together[row * 7 : row * 8] == alone


class MeanNetwork:
    """A chain of networks that give the mean of the image, by names that a test chooses."""

    def __init__(self, *sha256, engine="LiteRT 1"):
        self.sha256 = sha256
        self.engine = engine

    def __call__(self, image):
        return [np.full(3, image.mean(), np.float32) for _ in self.sha256]


def computed(store, requests, networks=("a",), outputs=("features",), pixels=PIXELS, engine="LiteRT 1"):
    """Return for how many requests the store has nothing yet."""
    return Activations(InThreads(MeanNetwork(*networks, engine=engine)), outputs, pixels, store).fill(requests)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as store:
        yield store


@pytest.mark.parametrize(
    "other",
    [
        {"outputs": ("map",)},
        {"networks": ("b",)},
        {"pixels": Pixels(8, "squash", AUGMENT)},
        {"pixels": Pixels(16, "crop", AUGMENT)},
        {"pixels": Pixels(16, "pad", AUGMENT)},
        {"engine": "LiteRT 2"},
    ],
    ids=["output", "network", "size", "crop", "pad", "engine"],
)
def test_what_the_numbers_depend_on_is_part_of_their_identity(store, requests, monkeypatch, other):
    # Of one type, for the type is part of the identity too.
    monkeypatch.setitem(requests_module.DTYPES, "map", np.dtype(np.float32))
    every = views(requests[:3], [0, 1])
    assert computed(store, every) == 6
    assert computed(store, every, **other) == 6
    assert computed(store, every) == computed(store, every, **other) == 0


def test_another_loader_is_another_identity(store, requests, monkeypatch):
    every = views(requests[:3], [0, 1])
    assert computed(store, every) == 6
    other = f"{loader.version()}, another Pillow"
    monkeypatch.setattr(loader, "version", lambda: other)
    assert computed(store, every) == 6


def test_another_type_is_another_identity(store, requests, monkeypatch):
    every = views(requests[:3], [0, 1])
    assert computed(store, every) == 6
    monkeypatch.setitem(requests_module.DTYPES, "features", np.dtype(np.float16))
    assert computed(store, every) == 6


def test_features_depend_on_both_networks_and_maps_on_the_first_alone(store, requests):
    both = ("map", "features")
    assert computed(store, requests[:3], ("trunk", "top"), both) == 3
    assert computed(store, requests[:3], ("trunk", "another top"), both) == 3
    assert computed(store, requests[:3], ("trunk",), ("map",)) == 0
    assert computed(store, requests[:3], ("another trunk", "top"), both) == 3
    assert computed(store, requests[:3], ("another trunk",), ("map",)) == 0


OTHER_VIEWS = {"flip": "both", "rotation": 5, "zoom": 0.2, "shift": 0.2, "crop_jitter": 1, "shear": 5, "crop": 0.9}
OTHER_VIEWS |= {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "probability": 0.5}
OTHER_VIEWS |= {"randaugment": {"count": 1, "magnitude": 9}}


@pytest.mark.parametrize("name", sorted(Augment.model_fields.keys() - {"views"}))
def test_views_with_another_setting_are_computed_again_but_not_the_images(store, requests, name):
    other = Pixels(16, "squash", AUGMENT | {name: OTHER_VIEWS[name]})
    assert computed(store, views(requests[:3], range(3))) == 9
    assert computed(store, views(requests[:3], range(3)), pixels=other) == 6
    assert computed(store, views(requests[:3], range(3))) == 0


def test_views_of_another_version_of_the_augmentation_are_computed_again_but_not_the_images(
    store, requests, monkeypatch
):
    assert computed(store, views(requests[:3], range(3))) == 9
    monkeypatch.setattr(augmentation, "VERSION", augmentation.VERSION + "+")
    assert computed(store, views(requests[:3], range(3))) == 6


def test_views_with_earlier_settings_can_be_removed_while_the_images_stay(tmp_path, requests):
    every, other = views(requests[:3], range(3)), Pixels(16, "squash", AUGMENT | {"rotation": 5})
    with Store(tmp_path / "store") as store:
        assert computed(store, every) == 9
    with Store(tmp_path / "store") as store:
        assert computed(store, every, pixels=other) == 6
        store.prune(0)
        assert computed(store, every, pixels=other) == 0
        assert computed(store, every) == 6


def test_a_network_names_its_engine_with_its_version(network):
    assert network.engine == f"LiteRT {version('ai-edge-litert')}"


@pytest.mark.parametrize("resize", loader.RESIZERS)
def test_every_way_of_resizing_gives_views(requests, resize):
    path, sha256, _ = requests[0]
    shown = list(Pixels(16, resize, AUGMENT).views(path, sha256, [0, 1, 2]))
    assert [pixels.shape for pixels in shown] == [(16, 16, 3)] * 3
    np.testing.assert_array_equal(shown[0], loader.load(path, 16, resize))


def test_views_of_a_crop_slide_over_what_it_cuts_off(tmp_path, encode):
    # White, but for its left end.
    pixels = np.full((40, 80, 3), 255, np.uint8)
    pixels[:, :20] = 0
    path, numbers = tmp_path / "a.png", range(1, 100)
    path.write_bytes(encode(Image.fromarray(pixels), ".png"))
    darkest = {}
    for slide in (0, 1):
        settings = augmentation.NEUTRAL | {"crop_jitter": slide, "probability": 1}
        shown = [list(Pixels(16, resize, settings).views(path, "ab" * 32, numbers)) for resize in ("crop", "squash")]
        darkest[slide] = [np.min([view.mean() for view in views]) for views in shown]
    # At that end, half of a square is black; of the whole, a quarter.
    assert darkest[0] == pytest.approx([255, 255 * 3 / 4], abs=3)
    assert darkest[1] == pytest.approx([255 / 2, 255 * 3 / 4], abs=8)


def test_a_store_that_is_deleted_meanwhile_changes_nothing(tmp_path, network, requests):
    with Store(tmp_path / "store") as store:
        computing = Activations(InThreads(network), ("map", "features"), Pixels(16, "squash"), store)
        computing.fill(requests)
        before = computing.read("features", requests)
        shutil.rmtree(tmp_path / "store")
        np.testing.assert_array_equal(computing.read("features", requests), before)
    with Store(tmp_path / "store") as store:
        computing = Activations(InThreads(network), ("map", "features"), Pixels(16, "squash"), store)
        np.testing.assert_array_equal(computing.read("features", requests), before)


def test_what_the_store_lost_is_computed_on_reading(activations, network, requests):
    expected = activations(requests)[1]
    network.runs = 0
    assert activations(requests, "empty", fill=False)[1] == expected
    assert network.runs >= 36


def test_an_unreadable_image_stops_with_its_path(activations, requests):
    broken = requests[0].path.with_name("zz broken.jpg")
    broken.write_bytes(b"")
    with pytest.raises(loader.UnreadableImageError, match=r"zz broken\.jpg: not a readable image"):
        activations([*requests, Request(broken, "f" * 64)])


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path, requests, network):
    class Loud:
        sha256 = ("0" * 64,)
        engine = "LiteRT 1"

        def __call__(self, image):
            return [np.full((2, 2, 1), 1e5, np.float32)]

    with Store(tmp_path / "store") as store, pytest.raises(GraftError, match=r"^fine_tune.from_layer: values"):
        Activations(InThreads(Loud()), ("map",), Pixels(16, "squash"), store).fill(requests)


def test_a_map_that_half_precision_cannot_hold_leaves_its_features(tmp_path, requests):
    class LoudBelow:
        sha256 = ("0" * 64, "1" * 64)
        engine = "LiteRT 1"

        def __call__(self, image):
            return [np.full((2, 2, 1), 1e5, np.float32), np.ones(3, np.float32)]

    with Store(tmp_path / "store") as store:
        activations = Activations(InThreads(LoudBelow()), ("map", "features"), Pixels(16, "squash"), store)
        assert activations.fill(requests) == len(requests)
        assert activations.fill(requests) == 0
        np.testing.assert_array_equal(activations.read("features", requests), np.ones((len(requests), 3)))
        with pytest.raises(GraftError, match=r"^fine_tune.from_layer: values of the map are beyond what float16 holds"):
            activations.read("map", requests)


def test_of_two_that_need_the_same_one_computes_and_the_other_waits_for_it(tmp_path, compiled, requests):
    networks = [CountingNetwork(compiled.trunk, compiled.top) for _ in range(2)]

    def fill(network):
        with Store(tmp_path / "store") as store:
            return Activations(InThreads(network), ("map", "features"), PIXELS, store).fill(views(requests, range(3)))

    with ThreadPoolExecutor() as both:
        filled = list(both.map(fill, networks))
    assert sorted(filled) == [0, 3 * 36]
    assert sorted(network.runs for network in networks) == [0, 3 * 36]
