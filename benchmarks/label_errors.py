"""Plants wrong labels and measures how well they are found: `python -m benchmarks.label_errors`.

It reads the features that the pipeline has written in a repository, changes labels in memory, and ranks all images as
the stage `inspect` does. Nothing is written.
"""

import os
from argparse import ArgumentParser
from pathlib import Path
from time import process_time

import numpy as np

from graft.core import paths
from graft.heads.feature_file import FeatureFile
from graft.heads.out_of_fold import out_of_fold
from graft.images.table import ImageTable, read_image_table
from graft.scores.label_errors import find_label_errors, precision_and_average_precision


def with_wrong_labels(labels: np.ndarray, classes: int, share: float, seed: int) -> np.ndarray:
    """Return the labels with a share of them, chosen at random, changed to another class, each equally probable."""
    random = np.random.default_rng(seed)
    images = random.choice(len(labels), round(share * len(labels)), replace=False)
    planted = labels.copy()
    planted[images] = (labels[images] + random.integers(1, classes, len(images))) % classes
    return planted


def measured(table: ImageTable, rows: np.ndarray, share: float, seed: int) -> str:
    """Return a row of the table: what is found of the wrong labels that a seed plants."""
    labels = with_wrong_labels(table.labels, len(table.classes), share, seed)
    start = process_time()
    found = out_of_fold(FeatureFile(paths.FEATURES, rows), labels, table.groups, len(table.classes))
    seconds = process_time() - start
    labels, wrong = labels[found.images], (labels != table.labels)[found.images]
    errors = find_label_errors(found.probabilities, labels)
    precision, average = precision_and_average_precision(errors.scores, wrong)
    of_suspects = wrong[errors.suspect].mean() if errors.suspect.any() else 0
    recall = errors.suspect[wrong].mean()
    cells = (seed, f"{wrong.sum()} of {len(table)}", f"{precision:.3f}", f"{average:.3f}")
    return (
        "| "
        + " | ".join(map(str, (*cells, errors.suspect.sum(), f"{of_suspects:.2f}", f"{recall:.2f}", f"{seconds:.1f}")))
        + " |"
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path(), help="where `dvc repro` has run (default: here)")
    parser.add_argument("--part", choices=("all", "train"), default="all", help="images to use (default: all)")
    parser.add_argument("--share", type=float, default=0.05, help="of wrong labels (default: 0.05)")
    parser.add_argument("--seeds", type=int, default=3, help="how many times (default: 3)")
    arguments = parser.parse_args()
    os.chdir(arguments.repository)
    table = read_image_table()
    rows = np.arange(len(table)) if arguments.part == "all" else np.flatnonzero(table.parts == arguments.part)
    print("| seed | wrong labels | precision | average precision | suspects | of them wrong | found | CPU seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        print(measured(table.take(rows), rows, arguments.share, seed), flush=True)


if __name__ == "__main__":
    main()
