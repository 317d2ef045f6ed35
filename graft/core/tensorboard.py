"""Where logs for TensorBoard go: a folder that neither git nor DVC keeps, since such logs hold times and addresses."""

import os
import time
from importlib.util import find_spec
from pathlib import Path

from graft.core.errors import GraftError

FOLDER = "logs"


def require(key: str) -> None:
    """Check that logs can be written.

    Parameters
    ----------
    key : of params.yaml, that asks for them.

    Raises
    ------
    GraftError
        If the package tensorboard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise GraftError(
            f"{key}: the package tensorboard is not installed; set it to false, or run "
            "pip install -c constraints.txt tensorboard"
        )


def log_folder(stage: str) -> Path:
    """Return logs/EXPERIMENT/stage, in the repository itself; without `dvc exp run`, the time stands for a name."""
    name = os.environ.get("DVC_EXP_NAME") or time.strftime("%Y-%m-%d_%H-%M-%S")
    return Path(os.environ.get("DVC_ROOT", "."), FOLDER, name, stage)
