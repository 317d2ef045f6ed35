"""The backbone that stage freeze wrote: read, built and cut again."""

from dataclasses import dataclass

from graft.backbone.compile import Scaling
from graft.backbone.cut import Cut, cut
from graft.backbone.network import network_again
from graft.core import paths
from graft.core.files import read_json


@dataclass(frozen=True)
class Backbone:
    """The frozen backbone with its weights, cut in two.

    Attributes
    ----------
    scaling : how its images are scaled: a name of `backbone_table.NAMES`, or a function, as `compile_network` takes it.
    cut : its two halves.
    pooling : how its feature map becomes features, a key of `settings.pooling.POOLINGS`.
    """

    scaling: str | Scaling
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
    network = network_again(description, image_size)
    halves = cut(network.model, description["from_layer"], description["to_layer"])
    return Backbone(network.scaling, halves, description["pooling"])
