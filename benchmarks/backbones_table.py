"""Writes docs/backbones.md: `python -m benchmarks.backbones_table`. Figures that can be computed are computed.

With `--time`, on a quiet machine, it first measures how long the smaller networks take for an image.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from benchmarks import hub_presets
from benchmarks.harness.results import machine
from graft.activations.litert import Network
from graft.backbone.architectures import family_of
from graft.backbone.build import build
from graft.backbone.compile import compile_network
from graft.backbone.cut import cut_points
from graft.core.files import read_json, write_json, write_text
from graft.settings import backbone_table

PAGE = Path("docs/backbones.md")
# The processor, and milliseconds an image by the backbone's name.
TIMES = Path(__file__).parent / "backbone_times.json"
# Larger networks than this, in multiply-adds, are not measured; each measurement is the median of so many images.
MOST_MULTIPLY_ADDS = 3e9
WARM_UP, MEASURED = 5, 30
# Of the weights: docs/licences.md has the sources.
LICENCES = {
    "convnext": "MIT",
    "densenet": "BSD-3-Clause",
    "resnet": "MIT",
    "resnet_v2": "BSD-3-Clause",
    "resnext": "CC-BY-NC-4.0",
    "vgg16": "CC-BY-4.0",
    "vgg19": "CC-BY-4.0",
    "xception": "MIT",
    "simple_cnn": "-",
}
OFFLINE = ("efficientnet_lite", "simple_cnn")
CHOICES = {
    "EfficientNetLite0": "you start",
    "EfficientNetLite2": "you want the best that needs no download",
    "MobileNetV2": "you have a checkpoint of TF-slim",
    "MobileNetV2_035": "each megabyte counts",
    "MobileNetV3Small": "each millisecond counts",
    "MobileNetV3Large": "a telephone runs it",
    "EfficientNetV2B0": "you want a good one that is quick",
    "EfficientNetV2B2": "you want the best under 10 million parameters",
    "EfficientNetV2S": "accuracy counts more than time",
    "ConvNeXtTiny": "the backbone stays frozen, and time matters little",
    "ConvNeXtBase": "the same, four times as large, pretrained on more classes",
    "DenseNet121": "you repeat a study that used it",
    "InceptionV3": "you repeat a study that used it",
    "ResNet50": "you repeat a study that used it",
    "ResNeXt50": "you repeat a study that used it, and sell nothing",
    "VGG16": "you repeat a study that used it",
    "simple_cnn": "you want to see what no pretraining gives",
}
INTRODUCTION = """# Backbones

The values of `backbone` in params.yaml. `python -m benchmarks.backbones_table` writes this page; do not edit it.

- **Size** is the default height and width in pixels, **least** the smallest that the network accepts.
- **Parameters** and **multiply-adds** (of one image at the default size) are in millions, without the layer of the
  1,000 classes. Multiply-adds count convolutions and dense layers.
- **Features** is the number of values per image with `pooling: avg` or `max`; `avg+max` gives twice as many.
- **Cuts** is the number of places where the network can be cut, because a single tensor crosses.
- **Top-1** and **top-5** are the published accuracies of the `weights: imagenet`, in per cent, on ImageNet's validation
  images; a dash where none is published.

- **ms** is the time for one image at the default size, in LiteRT on one thread of the processor below; a dash for the
  larger networks. **Offline** says whether it works without a connection: "fetched" means after the first run.
- **Licence** is that of the published weights, as far as it is stated ([licences.md](licences.md)).

| backbone | size | least | parameters | multiply-adds | features | layers | cuts | top-1 | top-5 | ms | licence | offline | take this when |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|---|
"""  # noqa: E501 - a table has no line breaks
SOURCES = """
Sources of the accuracies: [keras.io/api/applications](https://keras.io/api/applications/) for the networks of
keras.applications; for MobileNetV3 the table in the documentation of `keras.applications.MobileNetV3Large`; for the
other widths of MobileNetV2, `_035` (0.35) to `_140` (1.4),
([tensorflow/models](https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/README.md));
[tensorflow/tpu](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite) for EfficientNet-Lite,
and [keras-applications](https://github.com/keras-team/keras-applications) for ResNeXt, whose origin it names as
[the authors' networks](https://github.com/facebookresearch/ResNeXt): these are not for commercial use (CC-BY-NC 4.0).

## Several backbones

`backbone: [EfficientNetLite0, EfficientNetLite2]` puts the features of both side by side, each scaled to length 1, for
the head alone: it needs `fine_tune.from_layer: 1.0`, `pooling: avg`, and `weights: imagenet` or `none`. One image size
serves both; `auto` is the larger of the two. With `fine_tune.epochs: 0` nothing else is trained. One file is exported.
[accuracy.md](accuracy.md) has what this gains: more than a point on flower_photos, for the time of two networks.

## Weights from a file

`weights` names a file in a format of Keras, or a checkpoint of TF-slim.

- **ResNeXt** left Keras. The network here has the layers of the published files, called
  `resnext50_weights_tf_dim_ordering_tf_kernels_notop.h5` and `resnext101_...`. `weights: imagenet` fetches them from
  the address that Keras still names; `weights` takes your own copy.
- **TF-slim**: checkpoints of VGG16, InceptionV3 and MobileNetV2 of all widths are read by the names of their variables.
  Give the name of the checkpoint: `weights: mobilenet_v2_1.0_224.ckpt`, with its files .index and .data-... beside it,
  or the one file `vgg_16.ckpt`. Moving averages (ExponentialMovingAverage) are taken where the checkpoint has them. The
  state of the optimiser and Inception's second classifier are not read. A variable too few or too many, or of another
  shape, is refused in one line.
- Images are scaled as Keras scales them for these networks. VGG16 of TF-slim expects red, green and blue; its first
  kernel is turned round for Keras's order. In all three networks the epsilon of BatchNorm is 0.001 in both libraries
  (VGG16 has no BatchNorm).
- `graft predict --imagenet --weights FILE` leaves out the first of 1,001 classes, "none of these". The shares of the
  other thousand sum to 1.
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
        _milliseconds(name),
        LICENCES.get(record.module, "Apache-2.0"),
        "yes" if record.module in OFFLINE else "fetched",
        CHOICES.get(name, ""),
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def measure(name: str) -> float | None:
    """Return the milliseconds that the compiled network takes for an image on one thread; None if it is large."""
    record = backbone_table.get(name)
    model = build(name, record.image_size, "none")
    if multiply_adds(model) > MOST_MULTIPLY_ADDS:
        return None
    image = np.random.default_rng(0).integers(0, 256, model.input_shape[1:], np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        path.write_bytes(compile_network(model, name))
        network = Network(path)
        seconds = []
        for _ in range(WARM_UP + MEASURED):
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])


def measure_all() -> None:
    """Measure all backbones, and write the figures."""
    found = {}
    for name in tqdm(backbone_table.NAMES, unit=" networks"):
        milliseconds = measure(name)
        keras.backend.clear_session()
        if milliseconds is not None:
            found[name] = round(milliseconds, 1)
    write_json(TIMES, {"processor": machine()["processor"], "milliseconds": found})


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", action="store_true", help="measure first how long the networks take")
    if parser.parse_args().time:
        measure_all()
    rows = [row(name) for name in tqdm(backbone_table.NAMES, unit=" networks")]
    write_text(PAGE, INTRODUCTION + "".join(rows) + _processor() + SOURCES + hub_presets.section())


def _processor() -> str:
    return f"\nTimes: {read_json(TIMES)['processor']}.\n" if TIMES.exists() else ""


def _milliseconds(name: str) -> str:
    times = json.loads(TIMES.read_text(encoding="utf-8"))["milliseconds"] if TIMES.exists() else {}
    return f"{times[name]:.1f}" if name in times else "-"


def _per_cent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.1f}"


if __name__ == "__main__":
    main()
