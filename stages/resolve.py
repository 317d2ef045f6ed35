"""Stage resolve: check every parameter before anything else runs, and find what `dataset` and `weights` stand for.

A local folder, archive or weights file becomes a link, and DVC reads what the link leads to: it sees a change there.
Anything else becomes a link to a small file that says what to fetch.
"""

import shlex
from pathlib import Path
from typing import Any

from graft.core import paths, tensorboard
from graft.core.errors import run
from graft.core.packages import require, require_formats
from graft.core.quiet import importing
from graft.core.versions import record_versions
from graft.data.folders import check_links, has_heic
from graft.settings import datasets, params
from graft.settings.backbone_table import is_hub
from graft.settings.resolved import image_size, link_or_write, require_no_output, require_own_folder, weights_source
from graft.settings.shards import folder_of, is_local_pattern


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


def main() -> None:
    parameters = params.load()
    check_tensorboard(parameters)
    if parameters.extract.engine == "ray":
        require("extract.engine", ("ray",), "ray")
    require_formats(parameters.export.formats, "export.formats")
    # In a temporary experiment the current folder is a clone, but paths are relative to the repository itself.
    root = paths.repository()
    found = datasets.find(parameters.dataset, parameters.dataset_sha256, root)
    if isinstance(found, Path):
        require_no_output("dataset", parameters.dataset, found, root)
        if found.is_dir():
            check_links(found, parameters.dataset)
    weights = checked_weights(parameters, root)
    if isinstance(weights, Path):
        require_no_output("weights", parameters.weights, weights, root)
    require_own_folder(paths.RAW, paths.RAW_REPORT)
    source = found if isinstance(found, Path) else found.model_dump(exclude_none=True)
    # Shards are their folder, as it stands in params.yaml.
    setting = folder_of(parameters.dataset) if is_local_pattern(parameters.dataset, root) else parameters.dataset
    link_or_write(paths.SOURCE, source, setting)
    link_or_write(paths.WEIGHTS, weights, parameters.weights)
    record_versions(heic=isinstance(found, Path) and has_heic(found))
    if datasets.is_also_folder(parameters.dataset, root):
        name = parameters.dataset
        print(f"dataset {name} is the catalog's; for the folder of that name here, write dataset: ./{name}")
    if isinstance(found, Path) and not datasets.dvc_file(found, root):
        print(
            f"dataset {parameters.dataset} is not under DVC: other machines and CI cannot run this again; "
            f"`graft import {shlex.quote(setting)}` brings it into the repository"
        )
    print(f"dataset {parameters.dataset}, backbone {parameters.backbone}, weights {parameters.weights}")


if __name__ == "__main__":
    run(main, keeps_outputs=True)
