"""Where logs for TensorBoard go: a folder that is in neither git nor DVC, because such logs have times in them."""

import os
import time
from importlib.util import find_spec
from pathlib import Path

from graft.core.errors import GraftError
from graft.core.paths import repository

FOLDER = "logs"


def require(key: str) -> None:
    """Check that logs can be written.

    Parameters
    ----------
    key : of params.yaml, for the error message.

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
    """Return logs/EXPERIMENT/stage in the repository; outside of `dvc exp run`, the time is the experiment's name."""
    name = os.environ.get("DVC_EXP_NAME") or time.strftime("%Y-%m-%d_%H-%M-%S")
    return repository() / FOLDER / name / stage
