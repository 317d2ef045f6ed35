"""What a name, a path or `auto` in params.yaml stands for."""

import json
import os
from pathlib import Path

from graft.core.errors import GraftError
from graft.settings import backbone_table, datasets, params

WEIGHT_NAMES = ("imagenet", "none")


def image_size(setting: int | str, dataset: str, backbone: str) -> int:
    """Return the pixels on each side that the backbone sees.

    Parameters
    ----------
    setting : `image_size` of params.yaml; ``auto`` is the data set's own, or else the backbone's.
    dataset, backbone : of params.yaml.

    Raises
    ------
    GraftError
        If they are fewer than it takes.
    """
    record = backbone_table.get(backbone)
    size = setting if isinstance(setting, int) else datasets.known(dataset).image_size or record.image_size
    if size < record.minimum_size:
        raise GraftError(f"image_size: {size} is too small, {backbone} takes {record.minimum_size} or more")
    return size


def view_settings(augment: params.Augment, dataset: str) -> dict[str, object]:
    """Return what augmented views depend on, by name: `augment` without the number of views, `flip: auto` resolved."""
    flip = datasets.known(dataset).flip if augment.flip == "auto" else augment.flip
    return augment.model_dump(exclude={"views"}) | {"flip": flip}


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


def linked_weights(link: Path) -> str:
    """Return the weights that data/weights stands for: imagenet, none, or the path of a file."""
    if link.is_symlink():
        return str(link.resolve())
    return json.loads(link.read_text(encoding="utf-8"))["weights"]
