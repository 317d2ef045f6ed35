"""Stage resolve: check every parameter before anything else runs, and say what `dataset` and `weights` stand for.

A local folder, archive or weights file becomes a link, and DVC reads through the link: a change there is a changed
dependency. Anything else becomes a small file that says what to fetch.
"""

import os
from pathlib import Path

from stages.parts import catalog, params, registry, tensorboard
from stages.parts.errors import GraftError, run
from stages.parts.files import write_json
from stages.parts.native_output import importing

SOURCE = Path("data/source")
WEIGHTS = Path("data/weights")
WEIGHT_NAMES = ("imagenet", "none")


def weights_source(weights: str, root: Path) -> Path | dict[str, str]:
    """Return the weights file of that path, or the named weights as a dictionary.

    Raises
    ------
    GraftError
        If there is no such file.
    """
    if weights in WEIGHT_NAMES:
        return {"weights": weights}
    path = root / os.path.expanduser(weights)
    if not path.is_file():
        raise GraftError(f"weights: no file {weights}; give one, or one of {', '.join(WEIGHT_NAMES)}")
    return path


def image_size_of(parameters: params.Parameters) -> int:
    """Return the pixels on each side that the backbone is to see.

    Raises
    ------
    GraftError
        If it takes none that small.
    """
    backbone = registry.get(parameters.backbone)
    size = catalog.image_size(parameters.dataset, parameters.image_size, backbone.image_size)
    if size < backbone.minimum_size:
        raise GraftError(f"image_size: {size} is too small, {backbone.name} takes {backbone.minimum_size} or more")
    return size


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
        from stages.parts import backbones, trunk
    trunk.trained_layers(backbones.build(parameters.backbone, size, "none"), first, end)


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


def main() -> None:
    parameters = params.load()
    check_layers(parameters, image_size_of(parameters))
    for key, wanted in (("head", parameters.head.tensorboard), ("fine_tune", parameters.fine_tune.tensorboard)):
        if wanted:
            tensorboard.require(f"{key}.tensorboard")
    # In temporary experiments the working folder is a clone; paths are meant from the repository itself.
    root = Path(os.environ.get("DVC_ROOT", "."))
    found = catalog.find(parameters.dataset, parameters.dataset_sha256, root)
    weights = weights_source(parameters.weights, root)
    link_or_write(SOURCE, found if isinstance(found, Path) else found.model_dump(exclude_none=True))
    link_or_write(WEIGHTS, weights)
    print(f"dataset {parameters.dataset}, backbone {parameters.backbone}, weights {parameters.weights}")


if __name__ == "__main__":
    run(main)
