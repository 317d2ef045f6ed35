"""Results do not depend on what a notebook exports, nor on the user's own files for Keras and matplotlib."""

import json
import sys

import pytest

from graft.core.files import write_json

CLEAN = ("KERAS_HOME", "KERAS_BACKEND", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "MPLBACKEND", "MATPLOTLIBRC")
CLEAN += ("TF_FORCE_GPU_ALLOW_GROWTH",)
USERS_KERAS = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "torch"}
COMPILED = """\
import hashlib, os, sys
import graft
import keras
from graft.backbone.build import build
from graft.backbone.compile import compile_network
network = build("simple_cnn", 32, "none")
print(hashlib.sha256(compile_network(network, "simple_cnn")).hexdigest())
network.save_weights(sys.argv[1])
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())
"""
KERAS = """\
import graft, keras
print(keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(), keras.config.epsilon())
print(keras.config.max_epochs(), keras.config.max_steps_per_epoch())
"""
FIGURE = """\
import hashlib, sys
import numpy as np
from pathlib import Path
from graft.report import figures
figures.confusion(Path(sys.argv[1]), np.array([[3, 1], [0, 2]]), ["a", "b"])
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())
"""
STYLE = "backend: module://nowhere\nfont.size: 20\nfigure.facecolor: red\n"


@pytest.fixture
def printed(tmp_path, monkeypatch, run_python):
    """Return a function that runs a script with variables in the environment and returns what it prints."""
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)

    def run(script, **variables):
        done = run_python("-c", script, tmp_path / "output.weights.h5", folder=tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def printed_here(tmp_path, monkeypatch, capsys):
    """Return a function that runs a script in this process, whose settings are the usual ones."""
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path / "here.weights.h5")])

    def run(script):
        exec(script, {})
        return capsys.readouterr().out

    return run


def keras_folder(folder, settings):
    folder.mkdir()
    write_json(folder / "keras.json", settings)
    return str(folder)


def test_networks_have_the_same_bytes_whatever_the_users_keras_settings(printed, printed_here, tmp_path):
    home = keras_folder(tmp_path / "keras", USERS_KERAS)
    users = {"KERAS_HOME": home, "KERAS_BACKEND": "jax", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    assert printed(COMPILED, **users) == printed_here(COMPILED)
    assert json.loads((tmp_path / "keras/keras.json").read_text()) == USERS_KERAS


def test_tensorflow_takes_the_memory_of_a_gpu_as_it_needs_it_unless_the_user_says_otherwise(printed):
    growth = "import graft, os\nprint(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])"
    assert printed(growth) == "true\n"
    assert printed(growth, TF_FORCE_GPU_ALLOW_GROWTH="false") == "false\n"


def test_keras_has_its_defaults_whatever_variables_name_and_even_if_keras_json_is_wrong(printed, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    keras_folder(home / ".keras", {"floatx": "float8"})
    variables = {"KERAS_BACKEND": "no-such-backend", "KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}
    assert printed(KERAS, HOME=str(home), **variables) == "tensorflow float32 channels_last 1e-07\nNone None\n"


def test_keras_still_keeps_its_downloads_in_the_users_folder(printed, tmp_path):
    (tmp_path / "weights.h5").write_text("weights")
    fetch = "import graft, keras\nkeras.utils.get_file('weights.h5', '{}', cache_subdir='models')"
    printed(fetch.format((tmp_path / "weights.h5").as_uri()), KERAS_HOME=str(tmp_path / "users"))
    assert [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "users").rglob("*.*")] == [
        "users/models/weights.h5"
    ]


def test_figures_have_the_same_bytes_whatever_the_users_style(printed, printed_here, tmp_path):
    (tmp_path / "style").write_text(STYLE)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/matplotlibrc").write_text(STYLE)
    expected = printed_here(FIGURE)
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    assert printed(FIGURE, MATPLOTLIBRC=str(tmp_path / "style"), **backend) == expected
    assert printed(FIGURE, MPLCONFIGDIR=str(tmp_path / "config")) == expected
