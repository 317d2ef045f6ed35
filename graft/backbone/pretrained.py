"""The backbone of params.yaml, from the table or from KerasHub, with its weights."""

from dataclasses import asdict

from graft.backbone.build import build
from graft.backbone.network import Network
from graft.settings import params
from graft.settings.backbone_table import is_hub
from graft.settings.resolved import image_size, wanted_size


def network(parameters: params.Parameters, weights: str) -> Network:
    """Return the backbone that parameters name.

    Parameters
    ----------
    parameters : `backbone`, `image_size` and `dataset` are used.
    weights : imagenet, none, or the path of a file; for KerasHub also that of the preset's folder.

    Raises
    ------
    GraftError
        As `build.build`, `hub.load` and `hub.network` do.
    """
    name = parameters.backbone
    if not is_hub(name):
        size = image_size(parameters.image_size, parameters.dataset, name)
        return Network(build(name, size, weights), size, name)
    from graft.backbone import hub
    from graft.backbone.hub_graph import multiple_of

    loaded = hub.load(name, weights != "none")
    size = hub.fitting_size(loaded, *wanted_size(parameters.image_size, parameters.dataset))
    model = hub.network(loaded, size, weights)
    extra = {"preset": asdict(loaded.preset), "multiple_of": multiple_of(loaded.backbone)}
    return Network(model, size, loaded.preset.scaling, extra)
