"""graft COMMAND ...: classify images, check metrics, compare settings; `dvc repro` runs the pipeline itself."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module

from graft.core.errors import GraftError, end_at_interrupts, nearest, run

EXAMPLE = "graft predict photo.jpg"
# Each is a module of graft.commands. Only the module of the given command is imported, so that predict starts fast.
COMMANDS = {
    "import": "Bring a folder or archive of photos under DVC, as the data set of the pipeline.",
    "report": "Write one page for the browser: how good the classifier is, where it fails, which labels look wrong.",
    "relabel": "Correct labels by a table of images, such as metrics/suspects.csv.",
    "predict": "Classify images with the exported model.",
    "demo": "Show the exported model as a page in the browser: drop a photo or use the camera.",
    "export": "Write the exported model in another format.",
    "benchmark": "Run each exported file in each runtime that is installed, on the test part.",
    "gate": "Check the metrics against the thresholds in params.yaml.",
    "crossval": "Test the settings on every image: each fold of the split is the test part once.",
    "study": "Rank the variants of a study in studies.yaml.",
    "preset": "Write a recipe of presets.yaml into params.yaml, or list them.",
    "store": "List, prune or verify the store of computed activations.",
    "verify": "Run the pipeline of the last commit from nothing, and compare every output with dvc.lock.",
    "mend": "Repair the files of DVC that a kill or a full disk has left half written.",
}


def overview() -> str:
    """Return the text of `graft --help`."""
    lines = [f"  {name:10}{description}" for name, description in COMMANDS.items()]
    return "\n".join(
        [
            "usage: graft COMMAND ...",
            "",
            *lines,
            "",
            "graft COMMAND --help lists the arguments of a command.",
            "",
            "example:",
            f"  {EXAMPLE}",
        ]
    )


def command(arguments: Sequence[str]) -> int | None:
    """Run a command and return its exit status; None stands for 0.

    Parameters
    ----------
    arguments : the name of the command, then its own arguments; none for the overview.

    Raises
    ------
    GraftError
        If there is no such command, or the command raises it.
    """
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return None
    if name not in COMMANDS:
        raise GraftError(f"graft has no command {name!r}; {nearest(name, COMMANDS)}")
    module = import_module(f"graft.commands.{name}")
    parser = ArgumentParser(
        prog=f"graft {name}",
        description=COMMANDS[name],
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    if lost := [argument for argument in rest if argument.startswith("--") and argument.endswith("=--")]:
        # argparse takes the value away, and would give an empty list.
        raise GraftError(f"{lost[0]}: no value that this option can have")
    try:
        parsed = parser.parse_args(rest)
    except SystemExit as ended:
        # argparse has printed the help or the mistake. `run` flushes that before it exits, for readers such as `head`.
        return None if ended.code is None else int(ended.code)
    return module.main(parsed)


def main() -> None:
    """Run the command of the command line and exit with its status."""
    end_at_interrupts()
    run(lambda: command(sys.argv[1:]))


if __name__ == "__main__":
    main()
