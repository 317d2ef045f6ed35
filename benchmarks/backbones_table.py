"""Writes docs/backbones.md: `python -m benchmarks.backbones_table`. Figures that can be computed are computed."""

from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from graft.backbone import build, cut
from graft.backbone.architectures import family_of
from graft.core.files import write_text

PAGE = Path("docs/backbones.md")
INTRODUCTION = """# Backbones

What can stand in `backbone:`. Written by `python -m benchmarks.backbones_table`; don't edit it by hand.

- **Size** is the default height and width in pixels, **least** the smallest that the network takes.
- **Parameters** and **multiply-adds** (of one image at the default size) are those of the network without its
  1,000-class layer, in millions, counted over convolutions and dense layers.
- **Features** is the number of values per image with `pooling: avg` or `max`; `avg+max` gives twice as many.
- **Cuts** is the number of places where a single tensor crosses, so that the network can be parted there.
- **Top-1** and **top-5** are published accuracies on ImageNet's validation images, in per cent, of the weights that
  `weights: imagenet` fetches; a dash where none is published.

| backbone | size | least | parameters | multiply-adds | features | layers | cuts | top-1 | top-5 |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""
SOURCES = """
Sources of the accuracies: [keras.io/api/applications](https://keras.io/api/applications/) for the networks of
keras.applications, except MobileNetV3 (the table in `keras.applications.MobileNetV3Large`'s documentation) and
MobileNetV2 at other widths than 1.0, which `_035` to `_140` stand for
([tensorflow/models](https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/README.md));
[tensorflow/tpu](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite) for EfficientNet-Lite.
"""
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def multiply_adds(model: keras.Model) -> int:
    """Return the multiplications of one image in the convolutions and dense layers of a model."""
    total = 0
    for layer in model.layers:
        kernels = [getattr(layer, name) for name in KERNELS if getattr(layer, name, None) is not None]
        if kernels:
            # Each output position of (batch, height, width, channels) uses every value of the kernel once.
            positions = int(np.prod(layer.output.shape[1:-1]))
            total += positions * sum(int(np.prod(kernel.shape)) for kernel in kernels)
    return total


def row(name: str) -> str:
    """Return a backbone's line of the table."""
    record = build.get(name)
    model = family_of(record).build(record, record.image_size)
    cells = (
        name,
        record.image_size,
        record.minimum_size,
        f"{model.count_params() / 1e6:.2f}",
        f"{multiply_adds(model) / 1e6:,.0f}",
        f"{model.output_shape[-1]:,}",
        len(model.layers),
        len(cut.cut_points(model)),
        _per_cent(record.top_1),
        _per_cent(record.top_5),
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> None:
    """Write the page anew."""
    rows = [row(name) for name in tqdm(build.NAMES, unit=" networks")]
    write_text(PAGE, INTRODUCTION + "".join(rows) + SOURCES)


def _per_cent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.1f}"


if __name__ == "__main__":
    main()
