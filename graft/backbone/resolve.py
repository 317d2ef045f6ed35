"""What a stage must know before any work: whether the backbone is there, and goes together with the other settings."""

from pathlib import Path
from typing import Any

import keras

from graft.backbone.build import build
from graft.backbone.cut import trained_layers
from graft.core.errors import GraftError
from graft.settings import params
from graft.settings.resolved import image_size, wanted_size, weights_source


def check_layers(parameters: params.Parameters) -> None:
    """Check that a backbone of the table has the layers `fine_tune.from_layer` and `to_layer`.

    Raises
    ------
    GraftError
        If it does not, or the second is not after the first.
    """
    size = image_size(parameters.image_size, parameters.dataset, parameters.backbone)
    _check_layers(build(parameters.backbone, size, "none"), parameters)


def preset_weights(parameters: params.Parameters, root: Path) -> Path | dict[str, Any]:
    """Fetch a preset of KerasHub and check that the settings go together with it; return what data/weights stands for.

    Parameters
    ----------
    parameters : all.
    root : the repository's folder.

    Returns
    -------
    A folder or a weights file, or the content of a JSON file: the name of the weights and the SHA-256 of each file.

    Raises
    ------
    GraftError
        If the preset cannot be fetched, is no image encoder, or a setting does not go together with it.
    """
    from graft.backbone import hub

    loaded = hub.load(parameters.backbone, parameters.weights != "none")
    size = hub.fitting_size(loaded, *wanted_size(parameters.image_size, parameters.dataset))
    model = hub.network(loaded, size, "imagenet")
    _check_layers(model, parameters)
    _check_pooling(len(model.output.shape) == 3, parameters)
    if parameters.weights not in ("imagenet", "none"):
        return weights_source(parameters.weights, root)
    if loaded.folder and parameters.weights == "imagenet":
        return loaded.folder
    files = loaded.files
    if parameters.weights == "none":
        files = {name: sha256 for name, sha256 in files.items() if name == "config.json"}
    return {"weights": parameters.weights, "files": files}


def _check_layers(model: keras.Model, parameters: params.Parameters) -> None:
    trained_layers(model, parameters.fine_tune.from_layer, parameters.fine_tune.to_layer)


def _check_pooling(has_class_token: bool, parameters: params.Parameters) -> None:
    if "cls" in parameters.pooling and not has_class_token:
        raise GraftError(
            f"pooling: {parameters.pooling}, but {parameters.backbone} has no class token; choose avg, max, avg+max or "
            "none"
        )
    if parameters.head.kind == "se" and has_class_token:
        raise GraftError(
            f"head.kind: se weights the channels of a map, and {parameters.backbone} gives tokens; choose linear or mlp"
        )
