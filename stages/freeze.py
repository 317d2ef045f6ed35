"""Stage freeze: fix the backbone's weights, part it where training starts, and compile both halves."""

import json
from pathlib import Path

from stages.parts import backbones, catalog, params
from stages.parts.errors import run
from stages.parts.files import replacing, write_json
from stages.parts.native_output import hidden, importing

with importing():
    from stages.parts import trunk

WEIGHTS = Path("data/weights")
FOLDER = Path("data/backbone")


def weights_of(source: Path) -> str:
    """Return what to build the backbone with: imagenet, none or the path of a weights file."""
    if source.is_symlink():
        return str(source.resolve())
    return json.loads(source.read_text(encoding="utf-8"))["weights"]


def image_size_of(parameters: params.Parameters) -> int:
    """Return the pixels on each side that the network sees."""
    return catalog.image_size(parameters.dataset, parameters.image_size, backbones.get(parameters.backbone).image_size)


def description(parameters: params.Parameters, size: int, cut: trunk.Cut, features: tuple[int, ...]) -> dict:
    """Return what data/backbone/backbone.json says."""
    return {
        "backbone": parameters.backbone,
        "image_size": size,
        "resize": parameters.resize,
        "pooling": parameters.pooling,
        # A fraction may stand for another place at another size, an index does not.
        "from_layer": cut.first_trained,
        "to_layer": parameters.fine_tune.to_layer,
        "features": list(features),
        "cut": {"after": cut.point.after, "shape": list(cut.point.shape)},
        "frozen": list(cut.frozen),
        "trainable": list(cut.trainable),
    }


def main() -> None:
    parameters = params.load()
    size = image_size_of(parameters)
    model = backbones.build(parameters.backbone, size, weights_of(WEIGHTS))
    cut = trunk.cut(model, parameters.fine_tune.from_layer, parameters.fine_tune.to_layer)
    pooled = trunk.pool(cut.top, parameters.pooling)
    with hidden():
        lower, upper = trunk.compile_network(cut.trunk, parameters.backbone), trunk.compile_network(pooled)
    with replacing(FOLDER / "trunk.tflite") as path:
        path.write_bytes(lower)
    with replacing(FOLDER / "top.tflite") as path:
        path.write_bytes(upper)
    with replacing(FOLDER / "backbone.weights.h5") as path:
        model.save_weights(path)
    write_json(FOLDER / "backbone.json", description(parameters, size, cut, pooled.output.shape[1:]))
    trainable = f"{len(cut.trainable)} layers above it trainable"
    print(f"{parameters.backbone} at {size} pixels, cut after {cut.point.after}, {trainable}")


if __name__ == "__main__":
    run(main)
