"""The settings of TensorFlow, Keras and matplotlib, fixed before any of them is imported.

Results must not depend on what a notebook exports, or on the user's own configuration files. These files stay as they
are.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

# No information and no warnings: those of the converter do not help a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Convolutions by oneDNN are twice as fast. The default depends on the processor, but the results must not.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Of a GPU's memory TensorFlow takes what it needs, not all: other programs use it too.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
# Figures go to files. Jupyter exports a backend that exists in its own processes alone.
os.environ["MPLBACKEND"] = "agg"
# An empty file: no style of the user's.
os.environ["MATPLOTLIBRC"] = os.devnull
os.environ["KERAS_BACKEND"] = "tensorflow"
# These are for debugging: they end training early.
for _name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(_name, None)


class _KerasFinder:
    """Finds Keras where Python does, and keeps it from reading keras.json.

    Keras then has its defaults: float32, channels_last, epsilon 1e-7. It has no option for this: it reads the file
    while it is imported, in the folder for its downloads.
    """

    @staticmethod
    def find_spec(
        name: str,
        path: object = None,  # noqa: ARG004 - Python passes it
        target: ModuleType | None = None,  # noqa: ARG004 - Python passes it
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name) if name == "keras" else None
        if spec and spec.loader:
            execute = spec.loader.exec_module
            # Of this object only, which Python uses once.
            spec.loader.exec_module = lambda module: _import_keras(execute, module)  # type: ignore[method-assign]
        return spec


def _import_keras(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    folder = os.environ.get("KERAS_HOME")
    # Not a folder: Keras finds no file there and writes none.
    os.environ["KERAS_HOME"] = os.devnull
    try:
        execute(module)
    finally:
        del os.environ["KERAS_HOME"]
        if folder is not None:
            os.environ["KERAS_HOME"] = folder
    _use_for_downloads(Path(folder or "~/.keras").expanduser())


def _use_for_downloads(folder: Path) -> None:
    from keras.src.backend import config

    # If it cannot be made, Keras takes a folder in /tmp.
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    config._KERAS_DIR = str(folder)  # noqa: SLF001 - Keras has no public way


if not any(isinstance(finder, type) and finder.__name__ == _KerasFinder.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _KerasFinder)
