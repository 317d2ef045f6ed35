"""The backbone that stage freeze wrote: read, built and cut again."""

from dataclasses import dataclass

from graft.backbone.build import build
from graft.backbone.cut import Cut, cut
from graft.core import paths
from graft.core.files import read_json


@dataclass(frozen=True)
class Backbone:
    """The frozen backbone with its weights, cut in two.

    Attributes
    ----------
    name : a name of `backbone_table.NAMES`.
    cut : its two halves.
    pooling : how its feature map becomes features, a key of `settings.pooling.POOLINGS`.
    """

    name: str
    cut: Cut
    pooling: str


def frozen_backbone(image_size: int | None = None) -> Backbone:
    """Read data/backbone; return the network with its frozen weights, with the cut in the same place.

    Parameters
    ----------
    image_size : pixels on each side of its images; None for the size of stage freeze.

    Raises
    ------
    GraftError
        If a file is missing.
    """
    description = read_json(paths.BACKBONE_DESCRIPTION)
    model = build(description["backbone"], image_size or description["image_size"], "none")
    model.load_weights(paths.BACKBONE_WEIGHTS)
    halves = cut(model, description["from_layer"], description["to_layer"])
    return Backbone(description["backbone"], halves, description["pooling"])
