"""Where the pipeline keeps its files, relative to the repository."""

import os
from pathlib import Path

PARAMETERS = Path("params.yaml")
STUDIES = Path("studies.yaml")
PRESETS = Path("presets.yaml")
# The labels that the user has corrected.
RELABELLED = Path("relabelled.csv")
# The folders of all that the stages write.
OUTPUTS = (Path("data"), Path("models"), Path("metrics"))

# resolve
SOURCE = Path("data/source")
WEIGHTS = Path("data/weights")
ENVIRONMENT = Path("data/environment.json")
# download
RAW = Path("data/raw")
RAW_REPORT = Path("data/raw.json")
IMAGES = Path("data/images.csv")
IMAGE_STATISTICS = Path("data/image_statistics.csv")
# split
SPLIT = Path("data/split.csv")
CLASSES = Path("data/classes.json")
# freeze
BACKBONE = Path("data/backbone")
BACKBONE_DESCRIPTION = BACKBONE / "backbone.json"
BACKBONE_WEIGHTS = BACKBONE / "backbone.weights.h5"
TRUNK = BACKBONE / "trunk.tflite"
TOP = BACKBONE / "top.tflite"
# extract
FEATURES = Path("data/features/features.npy")
VIEW_FEATURES = Path("data/features/views.npy")
# Only where it is not LiteRT on this machine in float32.
FEATURES_ENGINE = Path("data/features/engine.json")
# Only with `extract.precision: int8`.
TRUNK_INT8 = Path("data/features/trunk_int8.tflite")
TOP_INT8 = Path("data/features/top_int8.tflite")
# inspect
DATA_METRICS = Path("metrics/data.json")
SUSPECTS = Path("metrics/suspects.csv")
SUSPECTS_FIGURE = Path("metrics/suspects.png")
FINDINGS = Path("data/findings.csv")
# train_head
HEAD = Path("models/head.npz")
HEAD_METRICS = Path("metrics/head.json")
# fine_tune
FINE_TUNED = Path("models/fine_tuned.weights.h5")
FINE_TUNE_METRICS = Path("metrics/fine_tune.json")
HISTORY = Path("metrics/history.csv")
# export
CLASSIFIER = Path("models/classifier.tflite")
LABELS = Path("models/labels.json")
EXPORT_METRICS = Path("metrics/export.json")
FORMATS_FOLDER = Path("models/formats")
# The names that `export.formats` can have, and the file of each.
FORMATS = {
    "tflite_float16": FORMATS_FOLDER / "classifier_float16.tflite",
    "tflite_int8": FORMATS_FOLDER / "classifier_int8.tflite",
    "onnx": FORMATS_FOLDER / "classifier.onnx",
}
# evaluate
ACCURACY = Path("metrics/accuracy.json")
CONFUSION_MATRIX = Path("metrics/confusion_matrix.json")
PER_CLASS = Path("metrics/per_class.json")
OPERATING_POINTS = Path("metrics/operating_points.csv")
UNKNOWN = Path("metrics/unknown.json")
PREDICTIONS = Path("metrics/predictions.csv")
FORMAT_METRICS = Path("metrics/formats.json")
PLOTS = Path("metrics/plots")
# describe
MODEL_CARD = Path("models/model_card.md")
PROVENANCE = Path("models/provenance.json")
# graft report
REPORT = Path("report.html")
# graft export, graft benchmark
EXPORTS = Path("exports")
BENCHMARK = Path("benchmark.json")
# graft crossval, graft study
CROSSVAL = Path("metrics/crossval.json")
CROSSVAL_IMAGES = Path("metrics/crossval.csv")
STUDY_RESULTS = Path("metrics/studies")


def repository() -> Path:
    """Return the repository's folder: that of DVC_ROOT where DVC sets it, else the current one.

    DVC runs temporary experiments in a clone; DVC_ROOT names the repository itself there too.
    """
    return Path(os.environ.get("DVC_ROOT") or ".")


def cache_folder() -> Path:
    """Return the folder for what is downloaded or computed once: .cache in the repository, shared by experiments."""
    return repository() / ".cache"


def checkpoint(name: str) -> Path:
    """Return the path of the checkpoint of fine-tuning that has this name."""
    return cache_folder() / "fine_tune" / f"{name}.npz"
