"""Stage train_head: which parts of the data the head learns from, and what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from split_files import write_split

from graft.core import paths
from graft.core.array_file import write_array
from graft.core.errors import GraftError
from graft.heads.head import read_head
from stages import train_head

LABELS = ["blue", "green", "red"]


def read_metrics():
    return json.loads(paths.HEAD_METRICS.read_text(encoding="utf-8"))


@pytest.fixture
def data(project, image_folder):
    """The rows of data/split.csv of a project with blue, green and red images."""
    return write_split(image_folder)


@pytest.fixture
def features(data):
    """Features of each image: its colour, with noise."""
    random = np.random.default_rng(0)
    colours = np.eye(3)[[LABELS.index(row["label"]) for row in data]]
    Path("data/features").mkdir()
    np.save("data/features/features.npy", (colours + random.normal(0, 0.1, (len(data), 3))).astype(np.float32))


def test_the_metrics_are_those_of_the_test_and_the_validation_part(features):
    train_head.main()
    found = read_metrics()
    assert list(found) == ["head", "head_validation"]
    assert (found["head"]["images"], found["head"]["accuracy"]) == (9, 1.0)
    assert found["head_validation"]["accuracy"] == 1.0
    assert found["head_validation"]["loss"] < 0.1


def test_the_head_has_the_same_bytes_each_time(features):
    train_head.main()
    first = Path("models/head.npz").read_bytes()
    train_head.main()
    assert Path("models/head.npz").read_bytes() == first


def saved_head():
    ((kernel, bias),) = read_head(paths.HEAD)[0].dense
    return np.vstack([kernel, bias])


def change_features(part, data):
    rows = np.load("data/features/features.npy")
    rows[[row["split"] == part for row in data]] *= 3
    np.save("data/features/features.npy", rows)


def test_the_head_never_sees_the_test_part(features, data):
    train_head.main()
    first = saved_head()
    change_features("test", data)
    train_head.main()
    np.testing.assert_array_equal(saved_head(), first)


def test_the_validation_part_decides_the_temperature_alone(features, data):
    train_head.main()
    first = saved_head()
    change_features("validation", data)
    train_head.main()
    second = saved_head()
    np.testing.assert_allclose(second / np.abs(second).max(), first / np.abs(first).max(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "printed"), [(0, ""), (0.25, ", and 25% linear discriminant analysis")])
def test_C_and_the_share_of_the_discriminant_can_be_given(share, printed, project, features, capsys):
    project.set(head__C=0.5, head__lda=share)
    train_head.main()
    assert capsys.readouterr().out.startswith(f"logistic regression, C 0.5{printed}\n")


def widen_features():
    """Repeat the features of each image until there are too many for linear discriminant analysis."""
    np.save("data/features/features.npy", np.tile(np.load("data/features/features.npy"), 1400))


def test_auto_uses_no_discriminant_for_thousands_of_features(features, capsys):
    widen_features()
    train_head.main()
    assert "discriminant" not in capsys.readouterr().out
    assert read_metrics()["head"]["accuracy"] == 1.0


def test_a_share_of_the_discriminant_for_too_many_features_is_one_line_and_writes_nothing(features, project):
    project.set(head__lda=0.5)
    widen_features()
    expected = r"head.lda: 0.5, but there are 4,200 features, more than 4,096; 0 does without"
    with pytest.raises(GraftError, match=expected):
        train_head.main()
    assert not Path("models/head.npz").exists()


LAYERS = {"head__lr": 0.05, "head__epochs": 20, "head__batch_size": 8}
KINDS = {
    "linear": {},
    "mlp": LAYERS | {"head__kind": "mlp", "head__widths": [8]},
    "se": LAYERS | {"head__kind": "se", "head__ratio": 1, "pooling": "none"},
}


def as_maps(places=(1, 1)):
    """Give each image a map of the same feature at all places."""
    rows = np.load("data/features/features.npy")
    np.save("data/features/features.npy", np.tile(rows[:, np.newaxis, np.newaxis], (1, *places, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_learns_and_has_the_same_bytes_each_time(features, project, kind):
    project.set(**KINDS[kind])
    if kind == "se":
        as_maps((2, 2))
    written = set()
    for _ in range(2):
        train_head.main()
        written.add(Path("models/head.npz").read_bytes())
    assert len(written) == 1
    assert read_head(paths.HEAD)[0].kind == kind
    assert read_metrics()["head"]["accuracy"] == 1.0


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_map_is_as_good_as_pooled_features(features, project, kind):
    project.set(**KINDS[kind] | {"pooling": "none"})
    as_maps((2, 1))
    train_head.main()
    assert read_metrics()["head"]["accuracy"] == 1.0


@pytest.fixture
def views(features, data):
    """Two views of each training image: the features of the first are the image's, of the second 0."""
    rows = np.load("data/features/features.npy")[[row["split"] == "train" for row in data]]
    np.save("data/features/views.npy", np.stack([rows, 0 * rows], axis=1).reshape(-1, 3))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_number_of_views_to_learn_from_is_a_setting(views, project, kind):
    losses = []
    for number in (0, 2):
        project.set(head__views=number, **KINDS[kind])
        train_head.main()
        losses.append(read_head(paths.HEAD)[0].dense[0][0])
    assert not np.allclose(*losses)
    assert read_metrics()["head"]["accuracy"] == 1.0


def test_views_that_are_their_images_leave_the_linear_head_as_it_is(features, data, project):
    train_head.main()
    first = saved_head()
    rows = np.load("data/features/features.npy")[[row["split"] == "train" for row in data]]
    np.save("data/features/views.npy", rows.repeat(3, axis=0))
    project.set(head__views=3)
    train_head.main()
    np.testing.assert_allclose(saved_head(), first, rtol=0.02, atol=0.02 * np.abs(first).max())


def test_a_linear_head_is_trained_without_tensorflow(features, project, run_python):
    script = (
        "import sys; from stages import train_head; train_head.main(); "
        "sys.exit(not {'keras', 'tensorflow'}.isdisjoint(sys.modules))"
    )
    assert run_python("-c", script, folder=project.folder).returncode == 0


def in_numbered_files(path, rows_per_file=7):
    """Write the rows of a file as numbered files in its place."""
    rows = np.load(path)
    write_array(Path(path), lambda of: [rows[of.start : of.stop]], rows.shape, rows_per_file)


@pytest.mark.parametrize("number", [0, 2])
def test_a_linear_head_of_rows_that_are_not_all_in_memory_is_as_good(number, views, project, capsys):
    settings = {"head__views": number, "head__C": 1.0, "head__lda": 0.5}
    project.set(**settings)
    train_head.main()
    expected, weights = read_metrics(), saved_head()
    for path in ("data/features/features.npy", "data/features/views.npy"):
        in_numbered_files(path)
    capsys.readouterr()
    project.set(limits__rows_in_memory=17, **settings)
    train_head.main()
    assert capsys.readouterr().out.startswith(
        "logistic regression, C 1, and 50% linear discriminant analysis, cross-validated on 17 of 18 training images\n"
    )
    found = read_metrics()
    assert found["head"]["accuracy"] == expected["head"]["accuracy"]
    assert found["head_validation"]["loss"] == pytest.approx(expected["head_validation"]["loss"], abs=0.01)
    np.testing.assert_allclose(saved_head(), weights, atol=0.1 * np.abs(weights).max())


def test_C_is_chosen_by_images_taken_at_random_where_there_are_too_many(features, project, capsys):
    project.set(limits__rows_in_memory=12)
    written = set()
    for _ in range(2):
        train_head.main()
        written.add(Path("models/head.npz").read_bytes())
    assert len(written) == 1
    # Twelve, and one more: each class has four, one for each fold.
    assert ", cross-validated on 13 of 18 training images\n" in capsys.readouterr().out
    assert read_metrics()["head"]["accuracy"] == 1.0


@pytest.mark.parametrize("kind", ["mlp", "se"])
def test_dense_heads_of_numbered_files_are_those_of_one_file(kind, features, project):
    project.set(**KINDS[kind])
    if kind == "se":
        as_maps((2, 2))
    train_head.main()
    expected = Path("models/head.npz").read_bytes()
    in_numbered_files("data/features/features.npy")
    project.set(limits__rows_in_memory=7, **KINDS[kind])
    train_head.main()
    kernel, calibrated = read_head(paths.HEAD)[0].dense[-1][0], Path("models/head.npz").read_bytes()
    # Only the temperature is of fewer validation images.
    assert calibrated != expected
    assert np.isfinite(kernel).all()
    assert read_metrics()["head"]["accuracy"] == 1.0


def test_an_altered_file_of_features_ends_the_stage_with_one_line(features, project, run_python):
    in_numbered_files("data/features/features.npy")
    file = Path("data/features/features.npy/00002.npy")
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    result = run_python("-m", "stages.train_head", folder=project.folder)
    assert (result.returncode, result.stderr) == (
        1,
        f"error: {file}: altered; `dvc checkout` brings it back, or `dvc repro extract` writes it again\n",
    )


def test_too_few_rows_of_features_are_one_line(features, data):
    np.save("data/features/features.npy", np.load("data/features/features.npy")[:20])
    with pytest.raises(
        GraftError, match=r"^data/features/features\.npy: 20 rows, not \d+; `dvc repro` writes it again$"
    ):
        train_head.main()
