"""Writes docs/backbones.md: `python -m benchmarks.backbones_table`. Figures that can be computed are computed."""

from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from graft.backbone.architectures import family_of
from graft.backbone.cut import cut_points
from graft.core.files import write_text
from graft.settings import backbone_table

PAGE = Path("docs/backbones.md")
INTRODUCTION = """# Backbones

The values of `backbone` in params.yaml. `python -m benchmarks.backbones_table` writes this page; do not edit it.

- **Size** is the default height and width in pixels, **least** the smallest that the network accepts.
- **Parameters** and **multiply-adds** (of one image at the default size) are in millions, without the layer of the
  1,000 classes. Multiply-adds count convolutions and dense layers.
- **Features** is the number of values per image with `pooling: avg` or `max`; `avg+max` gives twice as many.
- **Cuts** is the number of places where the network can be cut, because a single tensor crosses.
- **Top-1** and **top-5** are the published accuracies of the `weights: imagenet`, in per cent, on ImageNet's validation
  images; a dash where none is published.

| backbone | size | least | parameters | multiply-adds | features | layers | cuts | top-1 | top-5 |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""
SOURCES = """
Sources of the accuracies: [keras.io/api/applications](https://keras.io/api/applications/) for the networks of
keras.applications; for MobileNetV3 the table in the documentation of `keras.applications.MobileNetV3Large`; for the
other widths of MobileNetV2, `_035` (0.35) to `_140` (1.4),
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
    record = backbone_table.get(name)
    model = family_of(record).build(record, record.image_size)
    cells = (
        name,
        record.image_size,
        record.minimum_size,
        f"{model.count_params() / 1e6:.2f}",
        f"{multiply_adds(model) / 1e6:,.0f}",
        f"{model.output_shape[-1]:,}",
        len(model.layers),
        len(cut_points(model)),
        _per_cent(record.top_1),
        _per_cent(record.top_5),
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> None:
    """Write the page."""
    rows = [row(name) for name in tqdm(backbone_table.NAMES, unit=" networks")]
    write_text(PAGE, INTRODUCTION + "".join(rows) + SOURCES)


def _per_cent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.1f}"


if __name__ == "__main__":
    main()
