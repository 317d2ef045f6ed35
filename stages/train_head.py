"""Stage train_head: a classifier on the frozen backbone's features."""

import numpy as np

from graft.core import paths, tensorboard
from graft.core.files import read_json, replacing, write_json
from graft.core.stage import run_stage
from graft.heads.feature_file import FeatureFile
from graft.heads.head import Head
from graft.heads.train import FeatureSet, train_head
from graft.images.table import PARTS, ImageTable, read_image_table
from graft.scores import metrics
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax
from graft.settings import params


def index_type(rows: int) -> np.dtype:
    """Return a type of indices into so many rows: of four bytes where they are enough, to save memory."""
    return np.dtype(np.int32 if rows < 2**31 else np.int64)


def feature_set(table: ImageTable, part: str, views: int = 0) -> FeatureSet:
    """Return the features that extract wrote of the images of one part, and of their views if there are any."""
    rows = np.flatnonzero(table.parts == part)
    images = table.take(rows)
    features = FeatureFile(paths.FEATURES, rows.astype(index_type(len(table))))
    # The views of each training image are rows in succession.
    numbers = np.arange(len(rows) * views, dtype=index_type(len(rows) * views)).reshape(-1, views) if views else None
    of_views = None if numbers is None else FeatureFile(paths.VIEW_FEATURES, numbers)
    return FeatureSet(features, images.labels, images.sha256, images.groups, len(table.classes), of_views)


def read_parts(views: int) -> tuple[tuple[str, ...], list[FeatureSet]]:
    """Return the classes and the images of each of `PARTS`. The table of all images is not kept in memory."""
    table = read_image_table()
    return table.classes, [feature_set(table, part, views if part == "train" else 0) for part in PARTS]


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
    classes, (train, validation, test) = read_parts(parameters.head.views)
    log_folder = tensorboard.log_folder("train_head") if parameters.head.tensorboard else None
    most = parameters.limits.rows_in_memory
    head = train_head(train, validation, parameters.head, parameters.seed, log_folder, most)
    head = calibrated(head, validation, most)
    on_validation = metrics.accuracy_and_loss_of(judged(head, validation, most))
    figures = metrics.summary_of(judged(head, test, most), len(classes))
    engine = read_json(paths.FEATURES_ENGINE) if paths.FEATURES_ENGINE.exists() else {}
    with replacing(paths.HEAD) as path:
        head.save(path, classes)
    write_json(paths.HEAD_METRICS, {"head": figures, "head_validation": on_validation} | engine)
    print(f"head alone: {figures['accuracy']:.4f} of {figures['images']} test images")


if __name__ == "__main__":
    run_stage(main)
