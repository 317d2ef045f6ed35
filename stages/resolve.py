"""Stage resolve: check every parameter before anything else runs, and find what `dataset` and `weights` stand for.

A local folder, archive or weights file becomes a link, and DVC reads through the link: a change there is a changed
dependency. Anything else becomes a small file that says what to fetch.
"""

from pathlib import Path

from graft.core import paths, tensorboard
from graft.core.errors import GraftError, run
from graft.core.files import read_json, write_json
from graft.core.quiet import importing
from graft.core.versions import installed_versions, version_changes
from graft.settings import datasets, params
from graft.settings.resolved import image_size, weights_source


def check_layers(parameters: params.Parameters, size: int) -> None:
    """Check that the backbone has the layers between which it is to be trained.

    Raises
    ------
    GraftError
        If it has not.
    """
    first, end = parameters.fine_tune.from_layer, parameters.fine_tune.to_layer
    if isinstance(first, float) and end is None:
        return
    # Names and numbers of layers need the network itself, and so TensorFlow, which takes seconds to start.
    with importing():
        from graft.backbone.build import build
        from graft.backbone.cut import trained_layers
    trained_layers(build(parameters.backbone, size, "none"), first, end)


def check_tensorboard(parameters: params.Parameters) -> None:
    """Check that logs for TensorBoard can be written where they are wanted.

    Raises
    ------
    GraftError
        If its package is not installed.
    """
    for key, wanted in (("head", parameters.head.tensorboard), ("fine_tune", parameters.fine_tune.tensorboard)):
        if wanted:
            tensorboard.require(f"{key}.tensorboard")


def link_or_write(output: Path, source: Path | dict) -> None:
    """Make `output` a link to a path, or a JSON file of a dictionary, in place of the earlier link or file.

    Raises
    ------
    GraftError
        If a folder stands there: it may be somebody's only copy of their images.
    """
    if output.is_dir() and not output.is_symlink():
        raise GraftError(f"{output}: this name is for a link that the pipeline makes; move the folder elsewhere")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    if isinstance(source, Path):
        output.symlink_to(source.resolve())
    else:
        write_json(output, source)


def write_versions(output: Path) -> None:
    """Write the installed versions; where they differ from the last ones, print how: stages will run again for it."""
    now = installed_versions()
    if output.exists() and (changes := version_changes(read_json(output), now)):
        print(f"versions have changed, what they compute runs again: {', '.join(changes)}")
    write_json(output, now)


def main() -> None:
    parameters = params.load()
    check_layers(parameters, image_size(parameters.image_size, parameters.dataset, parameters.backbone))
    check_tensorboard(parameters)
    # In temporary experiments the working folder is a clone; paths are meant from the repository itself.
    root = paths.repository()
    found = datasets.find(parameters.dataset, parameters.dataset_sha256, root)
    weights = weights_source(parameters.weights, root)
    link_or_write(paths.SOURCE, found if isinstance(found, Path) else found.model_dump(exclude_none=True))
    link_or_write(paths.WEIGHTS, weights)
    write_versions(paths.ENVIRONMENT)
    print(f"dataset {parameters.dataset}, backbone {parameters.backbone}, weights {parameters.weights}")


if __name__ == "__main__":
    run(main)
