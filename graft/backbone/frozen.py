"""The backbone as stage freeze wrote it: read back, built and cut again."""

from dataclasses import dataclass

from graft.backbone import build
from graft.backbone.cut import Cut, cut
from graft.core import paths
from graft.core.files import read_json


@dataclass(frozen=True)
class Backbone:
    """What `freeze` fixed, built again with its weights.

    Attributes
    ----------
    name : in the registry.
    cut : its two halves.
    pooling : how its feature map becomes features.
    """

    name: str
    cut: Cut
    pooling: str


def frozen_backbone(image_size: int | None = None) -> Backbone:
    """Read data/backbone, and return the network with its frozen weights, cut where `freeze` cut it.

    Parameters
    ----------
    image_size : pixels on each side that it takes; None for those that it was frozen at.

    Raises
    ------
    GraftError
        If a file is missing.
    """
    description = read_json(paths.BACKBONE_DESCRIPTION)
    model = build.build(description["backbone"], image_size or description["image_size"], "none")
    model.load_weights(paths.BACKBONE_WEIGHTS)
    halves = cut(model, description["from_layer"], description["to_layer"])
    return Backbone(description["backbone"], halves, description["pooling"])
