"""What a name, a path or `auto` in params.yaml stands for."""

import json
import os
import reprlib
from pathlib import Path

from graft.core.errors import GraftError
from graft.settings import backbone_table, datasets, params

WEIGHT_NAMES = ("imagenet", "none")


def image_size(setting: int | str, dataset: str, backbone: str) -> int:
    """Return the pixels on each side of the images that the backbone sees.

    Parameters
    ----------
    setting : `image_size` of params.yaml; ``auto`` is the data set's own, or else the backbone's.
    dataset, backbone : of params.yaml.

    Raises
    ------
    GraftError
        If the backbone does not take such small images.
    """
    record = backbone_table.get(backbone)
    size = wanted_size(setting, dataset)[0] or record.image_size
    if size < record.minimum_size:
        raise GraftError(f"image_size: {size} is too small, {backbone} takes {record.minimum_size} or more")
    return size


def wanted_size(setting: int | str, dataset: str) -> tuple[int | None, bool]:
    """Return the pixels on each side that settings ask for, None for the backbone's own, and whether it is ``auto``.

    Parameters
    ----------
    setting : `image_size` of params.yaml.
    dataset : of params.yaml.
    """
    if isinstance(setting, int):
        return setting, False
    return datasets.entry_or_default(dataset).image_size, True


def view_settings(augment: params.Augment, dataset: str) -> dict[str, object]:
    """Return the settings of augmented views by name: `augment` without the number of views.

    Where `flip` is ``auto``, it is the data set's own.
    """
    flip = datasets.entry_or_default(dataset).flip if augment.flip == "auto" else augment.flip
    return augment.model_dump(exclude={"views"}) | {"flip": flip}


def weights_source(weights: str, root: Path) -> Path | dict[str, str]:
    """Return what data/weights stands for: a weights file, or the content of a JSON file with the name of the weights.

    Parameters
    ----------
    weights : of params.yaml: imagenet, none, or the path of a file (relative to `root`).
    root : the repository's folder.

    Raises
    ------
    GraftError
        If there is no such file.
    """
    if weights in WEIGHT_NAMES:
        return {"weights": weights}
    path = root / os.path.expanduser(weights)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise GraftError(f"weights: {reprlib.repr(weights)} cannot be read: {error.strerror}") from error
    if not is_file:
        raise GraftError(f"weights: no file {weights}; give one, or one of {', '.join(WEIGHT_NAMES)}")
    return path


def resolved_weights(source: Path) -> str:
    """Return the weights that data/weights stands for: imagenet, none, or the path of a file."""
    if source.is_symlink():
        return str(source.resolve())
    return json.loads(source.read_text(encoding="utf-8"))["weights"]
