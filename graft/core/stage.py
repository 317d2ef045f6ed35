"""How the script of a stage that computes runs."""

import sys
from collections.abc import Callable
from pathlib import Path

from graft.core import paths
from graft.core.errors import run
from graft.core.files import remove_leftovers
from graft.core.progress import reporting
from graft.core.versions import require_recorded_versions


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main` as `errors.run` does, if the installed versions are those of data/environment.json.

    Before, remove what a stage that was killed has left half written.
    """

    def checked() -> None:
        require_recorded_versions()
        for folder in paths.OUTPUTS:
            remove_leftovers(folder)
        with reporting(Path(sys.argv[0]).stem):
            main()

    run(checked)
