"""How the script of a stage that computes runs."""

from collections.abc import Callable

from graft.core.errors import run
from graft.core.versions import require_recorded_versions


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main` as `errors.run` does, if the installed versions are those of data/environment.json."""

    def checked() -> None:
        require_recorded_versions()
        main()

    run(checked)
