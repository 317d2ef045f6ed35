"""The engines: the same rows whatever computes them, each by its own name; and what is not chosen is not imported."""

import numpy as np
import pytest
from compiled_networks import relative_distance

from graft.activations import tensorflow_engine
from graft.activations.engines import ENGINES, engine_name, in_metrics, open_engine
from graft.activations.inference import frozen_activations
from graft.activations.litert import Network
from graft.activations.requests import Pixels, Request
from graft.activations.store import Store
from graft.backbone.build import build
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut
from graft.backbone.frozen import feature_network
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import sha256_of, write_json
from graft.images import augmentation
from graft.images.decoder import UnreadableImageError
from graft.settings.extract import Extract
from graft.settings.pooling import pool_tensor

BOTH = ("map", "features")
AUGMENT = augmentation.NEUTRAL | {"flip": "horizontal", "rotation": 15, "probability": 1}
PIXELS = Pixels(32, "squash", AUGMENT)


def settings(engine="tensorflow", precision="float32", batch_size=16):
    return Extract(engine=engine, precision=precision, batch_size=batch_size)


def freeze(name, pooling):
    """Write data/backbone as stage freeze does."""
    import keras

    model = build(name, 32, "none")
    halves = cut(model, 0.6)
    top = keras.Model(halves.top.input, pool_tensor(halves.top.output, pooling), name="top")
    paths.BACKBONE.mkdir(parents=True)
    paths.TRUNK.write_bytes(compile_network(halves.trunk, name))
    paths.TOP.write_bytes(compile_network(top))
    model.save_weights(paths.BACKBONE_WEIGHTS)
    description = {"backbone": name, "image_size": 32, "resize": "squash", "pooling": pooling}
    description |= {"from_layer": halves.first_trained, "to_layer": None}
    write_json(paths.BACKBONE_DESCRIPTION, description)


@pytest.fixture
def frozen(project):
    """A project with a frozen backbone."""
    freeze("simple_cnn", "avg+max")


@pytest.fixture
def requests(image_folder):
    files = sorted(image_folder.rglob("*.*"))
    return [Request(path, sha256_of(path), view) for path in files for view in (0, 1)]


def rows(requests, outputs=BOTH, **changes):
    return list(open_engine(settings(**changes), outputs, feature_network).rows(outputs, PIXELS, requests))


@pytest.mark.parametrize(("backbone", "pooling"), [("simple_cnn", "avg+max"), ("EfficientNetLite0", "none")])
def test_tensorflow_agrees_with_litert_on_maps_and_features_of_images_and_views(project, requests, backbone, pooling):
    freeze(backbone, pooling)
    reference, found = rows(requests, engine="litert"), rows(requests)
    assert [request for request, _ in found] == [request for request, _ in reference]
    for output, tolerance in (("features", 1e-5), ("map", 1e-3)):
        of_each = [np.stack([outcome[output] for _, outcome in each]) for each in (found, reference)]
        assert of_each[0].dtype == of_each[1].dtype
        assert relative_distance(*(array.astype(np.float64) for array in of_each)) < tolerance, output


def test_maps_agree_before_they_are_rounded_to_half_precision(frozen, requests):
    view = next(PIXELS.views(*requests[0][:2], [0]))
    (exact,) = Network(paths.TRUNK)(view)
    (found,) = feature_network(("map",), "float32")(view[np.newaxis])
    assert relative_distance(np.asarray(found)[0], exact) < 1e-5


@pytest.mark.parametrize("batch_size", [1, 7, 20, 500])
def test_all_rows_come_whatever_the_size_of_a_batch(frozen, requests, batch_size):
    found = rows(requests[:20], batch_size=batch_size)
    assert [request for request, _ in found] == requests[:20]


def test_an_image_has_the_same_bits_in_any_place_of_any_batch(frozen, requests):
    whole, alone = rows(requests), rows(requests[-1:])
    np.testing.assert_array_equal(whole[-1][1]["features"], alone[0][1]["features"])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_other_precisions_are_less_exact_and_not_the_same(frozen, requests, precision):
    exact, rough = (
        np.stack([outcome["features"] for _, outcome in rows(requests[:8], precision=each)])
        for each in ("float32", precision)
    )
    assert 1e-5 < relative_distance(rough, exact) < 0.05


@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_an_unreadable_image_is_a_row_with_the_reason_and_the_others_are_computed(frozen, requests, engine):
    requests[2].path.write_bytes(b"")
    found = rows(requests[:6], engine=engine)
    assert [request for request, _ in found] == requests[:6]
    unreadable = [isinstance(outcome, UnreadableImageError) for _, outcome in found]
    assert unreadable == [False, False, True, True, False, False]
    assert str(requests[2].path) in str(found[2][1])


def test_of_unreadable_images_the_first_is_named_after_all_others_are_stored(frozen, requests, tmp_path):
    for request in requests[:4]:
        request.path.write_bytes(b"")
    with Store(tmp_path / "store") as store:
        activations = frozen_activations(settings("litert"), BOTH, AUGMENT, store)
        with pytest.raises(UnreadableImageError, match=r"000\.jpg: not a readable image .*; and 1 more image files$"):
            activations.fill(requests)
        assert activations.fill(requests[4:]) == 0


def test_each_engine_precision_and_size_of_a_batch_has_numbers_of_its_own(frozen, requests, tmp_path):
    with Store(tmp_path / "store") as store:
        for chosen in (
            settings("litert"),
            settings(),
            settings(precision="bfloat16"),
            settings(batch_size=8),
        ):
            activations = frozen_activations(chosen, BOTH, AUGMENT, store, feature_network)
            assert activations.fill(requests[:3]) == 3
            assert activations.fill(requests[:3]) == 0


def test_metrics_name_each_engine_but_litert(frozen):
    assert in_metrics(settings("litert")) == {}
    name = in_metrics(settings(precision="bfloat16"))["engine"]
    assert name.startswith("TensorFlow ")
    assert name.endswith(", bfloat16 on CPU, batches of 16")
    assert open_engine(settings(precision="bfloat16"), BOTH, feature_network).engine == name


def test_settings_and_engines_have_the_same_names():
    assert {*Extract.model_fields["engine"].annotation.__args__} == {"auto", *ENGINES}


def test_auto_is_tensorflow_where_it_sees_a_gpu(tmp_path, monkeypatch):
    device = tmp_path / "nvidia0"
    device.touch()
    monkeypatch.setattr(tensorflow_engine, "gpu_names", lambda: ["a card"])
    assert engine_name("auto", [device]) == "tensorflow"
    monkeypatch.setattr(tensorflow_engine, "gpu_names", list)
    assert engine_name("auto", [device]) == "litert"
    assert engine_name("auto", [tmp_path / "none"]) == "litert"


def test_what_is_not_chosen_is_not_imported(frozen, run_python, project):
    script = (
        "import sys; from graft.activations.inference import frozen_activations; from graft.settings import params;"
        "from graft.activations.store import Store, default_folder;"
        "frozen_activations(params.load().extract, ('map', 'features'), {}, Store(default_folder()));"
        "import stages.extract; sys.exit(bool({'tensorflow', 'ray'} & set(sys.modules)))"
    )
    result = run_python("-c", script, folder=project.folder)
    assert result.returncode == 0, result.stderr


def test_too_many_images_for_the_memory_are_one_line_with_the_size_of_the_batch(frozen, requests):
    import tensorflow as tf

    def full(images):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    engine = open_engine(settings(batch_size=64), BOTH, lambda outputs, precision: full)
    with pytest.raises(GraftError, match=r"^extract\.batch_size: 64 images do not fit into the memory of CPU; set a "):
        list(engine.rows(BOTH, PIXELS, requests))
