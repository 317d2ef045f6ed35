"""Stage train_head: a classifier on the frozen backbone's features."""

import numpy as np

from graft.core import paths, tensorboard
from graft.core.files import read_json, replacing, write_json
from graft.core.stage import run_stage
from graft.heads.feature_file import FeatureFile
from graft.heads.head import Head
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
    # The views of each training image are rows in succession. Numbers of four bytes, where they can be, save memory.
    numbers = np.arange(len(rows) * views, dtype=np.min_scalar_type(-len(rows) * views - 1))
    of_views = FeatureFile(paths.VIEW_FEATURES, numbers.reshape(-1, views)) if views else None
    return FeatureSet(features, images.labels, images.sha256, images.groups, len(table.classes), of_views)


def judged(head: Head, images: FeatureSet, most: int) -> metrics.Outcomes:
    """Return what a head gives for images, of which at most so many are in memory."""
    blocks = images.read_blocks(most)
    return metrics.joined([metrics.outcomes(softmax(head.logits(features)), labels) for features, labels in blocks])


def calibrated(head: Head, validation: FeatureSet, most: int) -> Head:
    """Return the head at the temperature that calibrates it on the validation part, or on so many of its images."""
    if len(validation.labels) > most:
        validation = validation.take(np.linspace(0, len(validation.labels) - 1, most).astype(int))
    return head.at_temperature(fit_temperature(head.logits(validation.read()), validation.labels))


def main() -> None:
    parameters = params.load()
    table = read_image_table()
    train, validation, test = (
        feature_set(table, part, parameters.head.views if part == "train" else 0)
        for part in ("train", "validation", "test")
    )
    log_folder = tensorboard.log_folder("train_head") if parameters.head.tensorboard else None
    most = parameters.limits.rows_in_memory
    head = train_head(train, validation, parameters.head, parameters.seed, log_folder, most)
    head = calibrated(head, validation, most)
    on_validation = metrics.accuracy_and_loss_of(judged(head, validation, most))
    figures = metrics.summary_of(judged(head, test, most), len(table.classes))
    engine = read_json(paths.FEATURES_ENGINE) if paths.FEATURES_ENGINE.exists() else {}
    with replacing(paths.HEAD) as path:
        head.save(path, table.classes)
    write_json(paths.HEAD_METRICS, {"head": figures, "head_validation": on_validation} | engine)
    print(f"head alone: {figures['accuracy']:.4f} of {figures['images']} test images")


if __name__ == "__main__":
    run_stage(main)
