"""What the tests share: small generated pictures, a project folder, and a tiny compiled network."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import own_parameters
import pytest
import yaml
from clones import SMALL, Clone, is_the_users
from hypothesis import settings
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COLOURS = {"blue": (40, 70, 200), "green": (50, 180, 60), "red": (200, 50, 40)}
PICTURE_SIZE = 24
# They come by the thousand, and hide those that are ours.
FOREIGN_WARNINGS = (
    # Keras's variables do not know NumPy 2's argument `copy`.
    r"__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras\..*",
    # LiteRT's interpreter says it each time that all tensors are kept, which class activation maps need.
    r"Warning. Enabling `experimental_preserve_all_tensors`:UserWarning:ai_edge_litert\..*",
)


def _refuse_the_users_files(event: str, arguments: tuple) -> None:
    """Fail a test that opens what is the user's own in this repository: its values may be any."""
    # os.open has no mode; a name that it opens may be one in another folder.
    if event == "open" and isinstance(arguments[0], str | Path) and arguments[1]:
        path = Path(arguments[0]).absolute()
        if path.is_relative_to(ROOT) and is_the_users(path.relative_to(ROOT).as_posix()):
            assert "test_params_file.py" in os.environ.get("PYTEST_CURRENT_TEST", ""), f"{path} is the user's"


sys.addaudithook(_refuse_the_users_files)


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the warnings that only other packages could mend."""
    for warning in FOREIGN_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that run the whole pipeline first: at the end, no process waits for a long test of another."""
    long = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in long)


# The same examples in every run, and no deadline: the machine may be busy with something else.
settings.register_profile("graft", deadline=None, derandomize=True)
settings.load_profile("graft")


def _drawn_picture(colour: tuple[int, int, int], number: int, size: int = PICTURE_SIZE) -> Image.Image:
    """Return clouds of one colour, RGB: every number gives other clouds, whatever the colour."""
    coarse = np.random.default_rng(number).integers(-60, 60, (6, 6), endpoint=True)
    clouds = np.asarray(Image.fromarray((coarse + 128).astype(np.uint8)).resize((size, size)), int) - 128
    return Image.fromarray((np.array(colour) + clouds[..., np.newaxis]).clip(0, 255).astype(np.uint8))


def _encoded(picture: Image.Image, suffix: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def draw_picture():
    """Return a function of (colour, number, size) that draws a picture."""
    return _drawn_picture


@pytest.fixture(scope="session")
def encode():
    """Return a function of (picture, suffix, **options) that gives an image file's bytes."""
    return _encoded


@pytest.fixture(scope="session")
def write_image_folder():
    """Return a function that writes a folder of class folders, told apart by colour, JPEG and PNG in turn.

    Its arguments: the folder, the classes with their colours, how many images each has, and the first number, which
    decides what is on the pictures.
    """

    def write(
        folder: Path, classes: Mapping[str, tuple[int, int, int]] = COLOURS, count: int = 12, first: int = 0
    ) -> Path:
        for place, (name, colour) in enumerate(classes.items()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(first, first + count):
                suffix = (".jpg", ".png")[number % 2]
                picture = _drawn_picture(colour, 1000 * place + number)
                (folder / name / f"{number:03d}{suffix}").write_bytes(_encoded(picture, suffix))
        return folder

    return write


@pytest.fixture
def image_folder(tmp_path, write_image_folder):
    """A folder `photos` with 12 images in each of blue/, green/ and red/."""
    return write_image_folder(tmp_path / "photos")


class Project:
    """A folder with a params.yaml, the current one while the test runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        # Features of views are for the tests that are about them.
        self._defaults = own_parameters.changed(own_parameters.VALUES, head__views=0)
        self.set()

    def set(self, **changes: object) -> None:
        """Write params.yaml: the tests' parameters without views, with these changes, `section__key=value`."""
        values = own_parameters.changed(self._defaults, **changes)
        (self.folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project with the tests' parameters, as current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("sys.argv", ["stage"])
    return Project(folder)


@pytest.fixture
def fetch(project):
    """Return a function that runs resolve and download on a data set and gives the report."""
    from stages import download, resolve

    def fetched(dataset: object, **changes: object) -> dict:
        project.set(dataset=str(dataset), **changes)
        resolve.main()
        download.main()
        return json.loads(Path("data/raw.json").read_text(encoding="utf-8"))

    return fetched


@pytest.fixture
def exported_model(project, compiled):
    """A project with the exported classifier of blue, green and red pictures in models/."""
    import blue_green_red

    blue_green_red.write(compiled.classifier)
    return project


@pytest.fixture
def run_predict(exported_model, capsys):
    """Return a function that runs `graft predict` and returns its status, and the lines of output and errors."""
    from graft.__main__ import command

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        status = command(["predict", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture(scope="session")
def run_python():
    """Return a function that runs Python with the repository's modules, as a user would: (arguments, folder)."""

    def run(*arguments: object, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a function of (name, make): the folder that `make(folder)` has filled, in the first process to need it.

    The processes of pytest-xdist share it: use a copy.
    """

    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        base = tmp_path_factory.getbasetemp()
        base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        folder, done = base / name, base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                # What another process has left when `make` failed there.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def finished(tmp_path_factory, made_once, write_image_folder):
    """A clone with small settings after its first `dvc repro`, committed on main; copy it to change anything."""

    def make(folder: Path) -> None:
        clone = Clone.of_working_files(folder)
        write_image_folder(clone.photos, count=20)
        clone.set(**SMALL)
        clone.commit("Small settings")
        clone.dvc("repro")
        clone.commit("Results")

    return Clone(made_once("finished", make)).copied(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone."""
    return finished.copied(tmp_path / "clone")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Compiled networks for images of 16 x 16: a trunk, its pooled top, and a classifier of blue, green and red.

    The trunk gives maps (8, 8, 4), the top features (4,); the classifier's logits are 8 times the mean of each channel,
    scaled from 0 to 1.
    """
    import keras

    from graft.backbone.compile import compile_network

    image = keras.Input((16, 16, 3))
    convolution = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")
    trunk = keras.Model(image, convolution(image))
    convolution.set_weights([np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 4)), np.full(4, 0.1)])
    feature_map = keras.Input((8, 8, 4))
    top = keras.Model(feature_map, keras.layers.GlobalAveragePooling2D()(feature_map))
    dense = keras.layers.Dense(3, activation="softmax")
    classifier = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([8 * np.eye(3)[:, ::-1], np.zeros(3)])
    folder = tmp_path_factory.mktemp("compiled")
    networks = {"trunk": (trunk, _from_zero_to_one), "top": (top, None), "classifier": (classifier, _from_zero_to_one)}
    for name, (model, scale) in networks.items():
        (folder / f"{name}.tflite").write_bytes(compile_network(model, scale))
    return SimpleNamespace(**{name: folder / f"{name}.tflite" for name in networks})


def _from_zero_to_one(images):
    return images / 255
