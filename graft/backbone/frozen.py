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
    name : a name of `backbone_table.NAMES`, or ``hub/`` and a preset of KerasHub.
    cut : its two halves.
    pooling : how its feature map becomes features, a key of `settings.pooling.POOLINGS`.
    own_scaling : of a preset, how its images are scaled; None for a network of the table, whose name says it.
    """

    name: str
    cut: Cut
    pooling: str
    own_scaling: Scaling | None = None

    @property
    def scaling(self) -> str | Scaling:
        """How its images are scaled, as `compile_network` takes it."""
        return self.own_scaling or self.name


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
    own_scaling = network.scaling if callable(network.scaling) else None
    return Backbone(description["backbone"], halves, description["pooling"], own_scaling)
