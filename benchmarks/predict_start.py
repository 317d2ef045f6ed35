"""From the command to the class of one image, Graft against load_model: `python -m benchmarks.predict_start`.

Both classifiers are the same MobileNetV2 with five classes: models/classifier.tflite as `export` compiles it, and a
.keras file. Each call is a new process. The first call of each side is not counted: then the files are in the system's
cache.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.datasets import photographs
from benchmarks.harness import results, sides
from benchmarks.harness.results import Row

SIZE = 224


def write_classifiers(folder: Path, weights: str) -> None:
    """Write the classifier of both sides to `folder`: models/ as Graft has it, and classifier.keras."""
    import keras
    import numpy as np

    from graft.backbone.build import build
    from graft.backbone.cut import cut
    from graft.backbone.frozen import Backbone
    from graft.core.files import write_json
    from graft.heads.attach import attach_head, compile_classifier
    from graft.heads.head import linear

    halves = cut(build("MobileNetV2", SIZE, weights), 0.6)
    features = halves.top.output.shape[-1]
    kernel = np.random.default_rng(0).normal(0, 0.1, (features, photographs.CLASSES)).astype(np.float32)
    bias = np.zeros(photographs.CLASSES, np.float32)
    upper = attach_head(halves.top, "avg", linear(kernel, bias))
    (folder / "models").mkdir()
    compiled = compile_classifier(Backbone("MobileNetV2", halves, "avg"), upper)
    (folder / "models/classifier.tflite").write_bytes(compiled)
    labels = [f"class_{number}" for number in range(photographs.CLASSES)]
    write_json(folder / "models/labels.json", {"labels": labels, "image_size": SIZE, "resize": "squash", "crops": 1})

    base = keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights=None if weights == "none" else weights
    )
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    dense = keras.layers.Dense(photographs.CLASSES, activation="softmax")
    outputs = dense(keras.layers.GlobalAveragePooling2D()(maps))
    dense.set_weights([kernel, bias])
    keras.Model(inputs, outputs).save(folder / "classifier.keras")


def main() -> None:
    """Measure both sides in turn and write the figures; or only write the classifiers."""
    if sys.argv[1:2] == ["--write-classifiers"]:
        write_classifiers(Path(sys.argv[2]), sys.argv[3])
        return
    options = sides.parsed(sides.parser(__doc__, images=1, pairs=7))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = photographs.bring(folder / "images", options)[0]
        sides.python("benchmarks.predict_start", "--write-classifiers", folder, options.weights or "none")
        calls = {
            "graft": lambda: sides.python("graft", "predict", image, within=folder),
            "keras": lambda: sides.python("benchmarks.keras_side.predict", folder / "classifier.keras", image),
        }
        took = {side: runs[1:] for side, runs in sides.in_turn(calls, options.pairs + 1).items()}
    row = Row(
        claim="start of predict on one image",
        against="the same with keras.models.load_model",
        kind="times",
        wanted=10.0,
        measured=sides.ratios(*([run.seconds for run in took[side]] for side in ("keras", "graft"))),
        seconds=[sides.middle(took["graft"]), sides.middle(took["keras"])],
        peak_mib=[sides.peak(took["graft"]), sides.peak(took["keras"])],
    )
    results.write("predict_start", options, [row])


if __name__ == "__main__":
    main()
