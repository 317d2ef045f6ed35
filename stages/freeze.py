"""Stage freeze: fix the backbone's weights, cut it where training starts, and compile both halves."""

from graft.core import paths
from graft.core.files import replacing, write_bytes, write_json
from graft.core.quiet import hidden, importing
from graft.core.stage import run_stage
from graft.settings import params
from graft.settings.pooling import pool_tensor
from graft.settings.resolved import resolved_weights

with importing():
    import keras

    from graft.backbone.compile import compile_network
    from graft.backbone.cut import Cut, cut
    from graft.backbone.pretrained import network


def description(parameters: params.Parameters, size: int, halves: Cut, features: tuple[int, ...]) -> dict[str, object]:
    """Return the content of data/backbone/backbone.json."""
    return {
        "backbone": parameters.backbone,
        "image_size": size,
        "resize": parameters.resize,
        "pooling": parameters.pooling,
        # Not the fraction of params.yaml: at another image size it may give another cut, an index does not.
        "from_layer": halves.first_trained,
        "to_layer": parameters.fine_tune.to_layer,
        "features": list(features),
        "cut": {"after": halves.point.after, "shape": list(halves.point.shape)},
        "frozen": list(halves.frozen),
        "trainable": list(halves.trainable),
    }


def main() -> None:
    parameters = params.load()
    backbone = network(parameters, resolved_weights(paths.WEIGHTS))
    model, size = backbone.model, backbone.image_size
    halves = cut(model, parameters.fine_tune.from_layer, parameters.fine_tune.to_layer)
    top = keras.Model(halves.top.input, pool_tensor(halves.top.output, parameters.pooling), name=halves.top.name)
    with hidden():
        write_bytes(paths.TRUNK, compile_network(halves.trunk, backbone.scaling))
        write_bytes(paths.TOP, compile_network(top))
    with replacing(paths.BACKBONE_WEIGHTS) as path:
        model.save_weights(path)
    own = description(parameters, size, halves, top.output.shape[1:])
    write_json(paths.BACKBONE_DESCRIPTION, own | backbone.description)
    trainable = f"{len(halves.trainable)} layers above it trainable"
    print(f"{parameters.backbone} at {size} pixels, cut after {halves.point.after}, {trainable}")


if __name__ == "__main__":
    run_stage(main)
