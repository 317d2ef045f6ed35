"""`backbone: [A, B]`: several networks, whose features stand side by side for the head alone."""

from graft.settings.backbone_table import BESIDE, is_hub


def joined(value: object) -> object:
    """Return the names of a list as one name, with `BESIDE` between them; any other value as it is.

    Raises
    ------
    ValueError
        If the list does not have two different names or more, or one is of KerasHub.
    """
    if not isinstance(value, list):
        return value
    names = [str(name) for name in value]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError("a list needs two different backbones or more")
    for name in filter(is_hub, names):
        raise ValueError(f"{name} is a model of KerasHub; a list takes names of docs/backbones.md without hub/ alone")
    return BESIDE.join(names)


def fault(from_layer: object, pooling: str, weights: str) -> str | None:
    """Return what is wrong with a setting for several backbones, or None.

    Parameters
    ----------
    from_layer : `fine_tune.from_layer`.
    pooling, weights : of params.yaml.
    """
    wrong = None
    if not isinstance(from_layer, float) or from_layer != 1:
        wrong = f"fine_tune.from_layer is {from_layer}: set 1.0, no layer of theirs is trained"
    elif pooling != "avg":
        wrong = f"pooling is {pooling}: set avg"
    elif weights not in ("imagenet", "none"):
        wrong = "weights is a file: set imagenet or none"
    return wrong and f"backbone is a list, and {wrong}"
