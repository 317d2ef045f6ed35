"""graft export: write the model of the last export in another format."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from graft.core import paths
from graft.core.errors import GraftError, nearest
from graft.core.files import require_no_folder
from graft.core.packages import require_formats
from graft.core.quiet import importing

EXAMPLE = "graft export --format keras"
# The name in exports/ of each format.
FILES = {
    "tflite": paths.CLASSIFIER.name,
    **{name: path.name for name, path in paths.FORMATS.items()},
    "keras": "classifier.keras",
    "saved_model": "classifier_saved_model",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft export`."""
    parser.add_argument("--format", required=True, metavar="NAME", help=f"one of {', '.join(FILES)}")
    parser.add_argument("--output", type=Path, metavar="PATH", help="where to write it (default: in exports/)")


def main(arguments: Namespace) -> None:
    """Write the file, or the folder of saved_model."""
    name = arguments.format
    if name not in FILES:
        raise GraftError(f"--format: no format is called {name!r}; {nearest(name, FILES)}")
    require_formats([name], f"--format {name}")
    output = arguments.output or paths.EXPORTS / FILES[name]
    if written := [folder for folder in paths.OUTPUTS if output.resolve().is_relative_to(folder.resolve())]:
        # Above all over the classifier, which is what is exported.
        raise GraftError(f"--output: {output}: the stages write {written[0]}; give a place outside of it")
    if suffix := Path(FILES[name]).suffix:
        if output.suffix != suffix:
            raise GraftError(f"--output: {output} must end in {suffix}: other programs know a format by its ending")
        require_no_folder(output, "--output")
    with importing():
        from graft.serving.formats import write_any
    write_any(name, output)
    print(f"{output}: the classes, in the order of the probabilities, are in {paths.LABELS}")
