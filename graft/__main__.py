"""graft COMMAND ...: classify images, check metrics, compare settings; `dvc repro` runs the pipeline itself."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module

from graft.core.errors import nearest, run

# A module of graft.commands for each; it is imported only when its command is given, so that predict starts fast.
COMMANDS = {
    "predict": "Classify images with the exported model.",
    "gate": "Check the metrics against the thresholds in params.yaml.",
    "crossval": "Judge the settings on every image: each fold of the split is the test part once.",
    "study": "Rank the variants of a study in studies.yaml.",
    "verify": "Run the pipeline of the last commit from nothing, and compare every output with dvc.lock.",
    "store": "List, prune or verify the store of computed activations.",
}


def overview() -> str:
    """Return the text of `graft --help`."""
    lines = [f"  {name:10}{description}" for name, description in COMMANDS.items()]
    return "\n".join(["usage: graft COMMAND ...", "", *lines, "", "graft COMMAND --help has the arguments of each."])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    if name not in COMMANDS:
        sys.exit(f"error: graft has no command {name!r}; {nearest(name, COMMANDS)}")
    command = import_module(f"graft.commands.{name}")
    parser = ArgumentParser(
        prog=f"graft {name}",
        description=COMMANDS[name],
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    run(lambda: command.main(parser.parse_args(rest)))


if __name__ == "__main__":
    main()
