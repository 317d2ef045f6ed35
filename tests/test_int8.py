"""`extract.precision: int8`: networks of whole numbers, calibrated on training images, with numbers of their own."""

import numpy as np
import pytest
from compiled_networks import relative_distance
from split_files import write_split
from test_engines import freeze

from graft.activations import engines
from graft.activations.engines import in_metrics, networks, open_engine
from graft.activations.inference import frozen_activations
from graft.activations.litert import Network
from graft.activations.requests import Pixels
from graft.activations.split_requests import TableRequests
from graft.activations.store import Store
from graft.backbone import int8
from graft.backbone.int8 import CALIBRATION_IMAGES, calibration_images, frozen_in_int8
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import read_json, write_json
from graft.images.table import read_image_table
from graft.settings.extract import Extract
from stages import extract

BOTH = ("map", "features")


def settings(engine="litert", precision="int8"):
    return Extract(engine=engine, precision=precision, batch_size=16)


@pytest.fixture
def frozen(project, image_folder):
    """A project with images, a split and a frozen backbone; its image table."""
    write_split(image_folder)
    freeze("simple_cnn", "avg+max")
    description = read_json(paths.BACKBONE_DESCRIPTION)
    assert description["image_size"] == 32
    project.set(extract__precision="int8", extract__engine="litert", image_size=32)
    return read_image_table()


@pytest.fixture
def compiled_in_int8(frozen):
    extract.compile_in_int8(frozen.part("train"))
    return frozen


def rows(table, precision):
    requests = TableRequests(table)
    engine = open_engine(settings(precision=precision), BOTH)
    return [outcome for _, outcome in engine.rows(BOTH, Pixels(32, "squash"), requests)]


def test_a_network_of_whole_numbers_takes_pixels_and_gives_floats_near_the_exact_ones(compiled_in_int8):
    exact, rough = (rows(compiled_in_int8, precision) for precision in ("float32", "int8"))
    for output in BOTH:
        found, reference = (np.stack([row[output] for row in each]).astype(np.float64) for each in (rough, exact))
        assert found.shape == reference.shape
        assert 1e-5 < relative_distance(found, reference) < 0.03, output
    assert rough[0]["features"].dtype == np.float32
    sizes = [path.stat().st_size for path in (paths.TRUNK_INT8, paths.TRUNK)]
    assert sizes[0] < sizes[1] / 2


def test_the_same_images_give_the_same_bytes(frozen):
    assert frozen_in_int8(frozen.part("train")) == frozen_in_int8(frozen.part("train"))


def test_training_images_alone_are_calibrated_on(frozen):
    before = frozen_in_int8(frozen.part("train"))
    for path in frozen.part("test").files():
        path.write_bytes(b"")
    assert frozen_in_int8(frozen.part("train")) == before


def test_the_hashes_choose_the_images_whatever_their_order(frozen):
    images = frozen.take(np.arange(len(frozen))[::-1])
    both = [calibration_images(table, 32, "squash") for table in (frozen, images)]
    np.testing.assert_array_equal(*both)
    assert len(both[0]) == min(CALIBRATION_IMAGES, len(frozen))


def test_the_stage_extract_computes_in_whole_numbers_and_names_it(frozen, project, capsys):
    description = read_json(paths.BACKBONE_DESCRIPTION)
    write_json(
        paths.BACKBONE_DESCRIPTION, description | {"features": list(rows(frozen, "float32")[0]["features"].shape)}
    )
    extract.main()
    name = f"{Network.engine}, int8"
    assert capsys.readouterr().out.endswith(f"36 computed now by {name}\n")
    assert read_json(paths.FEATURES_ENGINE) == {"engine": name}
    rough = np.load(paths.FEATURES)
    project.set(extract__engine="litert", image_size=32)
    extract.main()
    assert not any(path.exists() for path in (paths.FEATURES_ENGINE, paths.TRUNK_INT8, paths.TOP_INT8))
    assert 1e-5 < relative_distance(rough, np.load(paths.FEATURES)) < 0.03


def test_the_store_has_its_numbers_apart_and_another_calibration_has_its_own(compiled_in_int8, tmp_path):
    requests = TableRequests(compiled_in_int8)[:3]
    with Store(tmp_path / "store") as store:
        for precision in ("float32", "int8"):
            activations = frozen_activations(settings(precision=precision), BOTH, {}, store)
            assert activations.fill(requests) == 3
            assert activations.fill(requests) == 0
        extract.compile_in_int8(compiled_in_int8.part("test"))
        assert frozen_activations(settings(), BOTH, {}, store).fill(requests) == 3


@pytest.mark.parametrize(("engine", "name"), [("litert", ", int8"), ("auto", ", int8"), ("ray", ", int8 on Ray")])
def test_each_engine_of_litert_computes_in_int8_and_metrics_say_so(engine, name, monkeypatch):
    # On a machine with a GPU too.
    monkeypatch.setattr(engines, "engine_name", lambda setting: "tensorflow" if setting == "auto" else setting)
    assert in_metrics(settings(engine)) == {"engine": Network.engine + name}
    assert networks(settings(engine), BOTH) == [paths.TRUNK_INT8, paths.TOP_INT8]


@pytest.mark.slow
def test_an_operation_that_is_for_floats_alone_stays_as_it_is(project, image_folder):
    write_split(image_folder)
    freeze("ConvNeXtTiny", "avg")
    extract.compile_in_int8(read_image_table().part("train"))
    exact, rough = (
        np.stack([row["features"] for row in rows(read_image_table(), each)]) for each in ("float32", "int8")
    )
    assert np.isfinite(rough).all()
    assert relative_distance(rough, exact) > 0


def test_a_network_that_cannot_be_compiled_so_is_one_line(frozen, monkeypatch):
    def fails(*_):
        raise RuntimeError("Quantization not yet supported for op: 'CUSTOM'\nmore")

    monkeypatch.setattr(int8, "compile_network", fails)
    with pytest.raises(
        GraftError, match=r"^extract\.precision: simple_cnn cannot be computed in int8 \(.*\); set float32$"
    ):
        frozen_in_int8(frozen.part("train"))
