"""Stage resolve: check every parameter before anything else runs, and find what `dataset` and `weights` stand for.

A local folder, archive or weights file becomes a link, and DVC reads what the link leads to: it sees a change there.
Anything else becomes a small file that says what to fetch.
"""

from pathlib import Path
from typing import Any

from graft.core import paths, tensorboard
from graft.core.errors import GraftError, run
from graft.core.files import write_json
from graft.core.quiet import importing
from graft.core.versions import record_versions
from graft.data.folders import check_links
from graft.settings import datasets, params
from graft.settings.backbone_table import is_hub
from graft.settings.resolved import image_size, weights_source


def checked_weights(parameters: params.Parameters, root: Path) -> Path | dict[str, Any]:
    """Return what data/weights stands for, after the checks that need the network itself.

    Raises
    ------
    GraftError
        If the backbone is too large for its images, cannot be fetched, or does not have the layers
        `fine_tune.from_layer` and `to_layer`.
    """
    of_hub = is_hub(parameters.backbone)
    if not of_hub:
        image_size(parameters.image_size, parameters.dataset, parameters.backbone)
    first, end = parameters.fine_tune.from_layer, parameters.fine_tune.to_layer
    if of_hub or not isinstance(first, float) or end is not None:
        # It needs TensorFlow, which takes seconds to start.
        with importing():
            from graft.backbone.resolve import check_layers, preset_weights
        if of_hub:
            return preset_weights(parameters, root)
        check_layers(parameters)
    return weights_source(parameters.weights, root)


def check_tensorboard(parameters: params.Parameters) -> None:
    """Check that logs for TensorBoard can be written, if a setting asks for them.

    Raises
    ------
    GraftError
        If its package is not installed.
    """
    for key, wanted in (("head", parameters.head.tensorboard), ("fine_tune", parameters.fine_tune.tensorboard)):
        if wanted:
            tensorboard.require(f"{key}.tensorboard")


def link_or_write(output: Path, source: Path | dict[str, Any]) -> None:
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


def main() -> None:
    parameters = params.load()
    check_tensorboard(parameters)
    # In a temporary experiment the current folder is a clone, but paths are relative to the repository itself.
    root = paths.repository()
    found = datasets.find(parameters.dataset, parameters.dataset_sha256, root)
    if isinstance(found, Path) and found.is_dir():
        check_links(found, parameters.dataset)
    weights = checked_weights(parameters, root)
    link_or_write(paths.SOURCE, found if isinstance(found, Path) else found.model_dump(exclude_none=True))
    link_or_write(paths.WEIGHTS, weights)
    record_versions()
    if datasets.is_also_folder(parameters.dataset, root):
        name = parameters.dataset
        print(f"dataset {name} is the catalog's; for the folder of that name here, write dataset: ./{name}")
    print(f"dataset {parameters.dataset}, backbone {parameters.backbone}, weights {parameters.weights}")


if __name__ == "__main__":
    run(main, keeps_outputs=True)
