"""A user commits photos, settings and results of their own: the tests pass there too, for CI runs them first."""

import json
import sys

import pytest
from clones import Clone

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
# Quick tests of the parameters, of what reads them, and of what the repository holds.
TESTS = ("test_params_file", "test_pipeline", "test_licences", "test_gate")


@pytest.fixture(scope="module")
def users(tmp_path_factory, write_image_folder):
    """A clone whose last commit has photos, settings, metrics and a dvc.lock of the user."""
    clone = Clone.of_working_files(tmp_path_factory.mktemp("users"))
    write_image_folder(clone.path / "photos", {"ants": (0, 0, 0), "bees": (200, 200, 0)}, count=3)
    clone.set(
        dataset="photos",
        backbone="MobileNetV2",
        weights="none",
        image_size=21,
        resize="pad",
        lr=0.02,
        seed=3,
        split__folds=3,
        head__kind="mlp",
        head__widths=[5],
        fine_tune__epochs=1,
        export__crops=1,
        display_names={"bees": "Bienen"},
        gate__min_accuracy=0.1,
    )
    metrics = clone.path / "metrics"
    metrics.mkdir(exist_ok=True)
    (metrics / "accuracy.json").write_text(json.dumps({"accuracy": 0.5}))
    (clone.path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    clone.commit("Own photos")
    return clone


def test_tests_pass_whatever_the_user_has_committed(users):
    printed = users.run(*PYTEST, *(f"tests/{name}.py" for name in TESTS))
    assert " passed" in printed
    assert "SKIPPED [1] tests/test_params_file.py" in printed
    assert users.git("status", "--porcelain") == ""


def test_a_test_that_reads_the_users_settings_fails(users):
    """Whatever file it is in: it would depend on their values."""
    test = users.path / "tests/test_new.py"
    test.write_text('def test_new():\n    open("params.yaml")\n')
    printed = users.attempt(*PYTEST, test).stdout
    test.unlink()
    assert f"{users.path / 'params.yaml'} is the user's" in printed
    assert "1 failed" in printed
