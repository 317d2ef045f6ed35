"""Stage train_head: a classifier on the frozen backbone's features."""

import numpy as np

from graft.core import paths, tensorboard
from graft.core.files import read_json, replacing, write_json
from graft.core.stage import run_stage
from graft.heads.feature_file import FeatureFile
from graft.heads.train import FeatureSet, train_head
from graft.images.table import ImageTable, read_image_table
from graft.scores import metrics
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax
from graft.settings import params


def feature_set(table: ImageTable, part: str, views: int = 0) -> FeatureSet:
    """Return the features that extract wrote of the images of one part, and of their views if there are any."""
    rows = np.flatnonzero(table.parts == part)
    images = table.take(rows)
    features = FeatureFile(paths.FEATURES, rows)
    # The views of each training image are rows in succession.
    of_views = FeatureFile(paths.VIEW_FEATURES, np.arange(len(rows) * views).reshape(-1, views)) if views else None
    return FeatureSet(features, images.labels, images.sha256, images.groups, len(table.classes), of_views)


def main() -> None:
    parameters = params.load()
    table = read_image_table()
    train, validation, test = (
        feature_set(table, part, parameters.head.views if part == "train" else 0)
        for part in ("train", "validation", "test")
    )
    log_folder = tensorboard.log_folder("train_head") if parameters.head.tensorboard else None
    head = train_head(train, validation, parameters.head, parameters.seed, log_folder)
    features = validation.read()
    head = head.at_temperature(fit_temperature(head.logits(features), validation.labels))
    on_validation = metrics.accuracy_and_loss(softmax(head.logits(features)), validation.labels)
    figures = metrics.summary(softmax(head.logits(test.read())), test.labels)
    engine = read_json(paths.FEATURES_ENGINE) if paths.FEATURES_ENGINE.exists() else {}
    with replacing(paths.HEAD) as path:
        head.save(path, table.classes)
    write_json(paths.HEAD_METRICS, {"head": figures, "head_validation": on_validation} | engine)
    print(f"head alone: {figures['accuracy']:.4f} of {figures['images']} test images")


if __name__ == "__main__":
    run_stage(main)
