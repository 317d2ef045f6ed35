"""Stage inspect: look for wrong labels, copies, leaks between the parts, odd images and outliers among all images."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from graft.core import paths
from graft.core.files import Rows, read_json, rows_of, write_json, write_rows
from graft.core.stage import run_stage
from graft.data import findings as kinds
from graft.data.findings import Finding, find_copies, find_odd, find_outliers
from graft.heads.feature_file import FeatureFile
from graft.heads.out_of_fold import OutOfFold, out_of_fold
from graft.images.table import ImageTable, read_image_table
from graft.report import figures
from graft.report.data_doctor import data_metrics, most_suspect, write_suspects
from graft.report.fonts import class_names
from graft.scores.label_errors import LabelErrors, find_label_errors

KINDS = (*kinds.COPIES, *kinds.CHECKS, kinds.OUTLIER, kinds.REFUSED)


def statistics_of(table: ImageTable) -> Iterator[dict[str, str]]:
    """Yield the rows of data/image_statistics.csv of the images in the table: relabelled.csv can leave images out."""
    wanted = iter(table.paths)
    path = next(wanted, None)
    # Both are in the order of data/images.csv.
    for row in rows_of(paths.IMAGE_STATISTICS):
        if row["path"] == path:
            yield row
            path = next(wanted, None)


def all_findings(table: ImageTable, statistics: Iterable[dict[str, str]], judged: OutOfFold) -> list[Finding]:
    """Return the rows of data/findings.csv, by the order of `KINDS`."""
    refused = read_json(paths.RAW_REPORT)["refused"]
    return [
        *find_copies(rows_of(paths.SPLIT)),
        *find_odd(statistics),
        *find_outliers(table.paths[judged.images], judged.distances),
        *(Finding(kinds.REFUSED, image["path"], value=image["reason"]) for image in refused),
    ]


def draw(images: ImageTable, judged: OutOfFold, errors: LabelErrors) -> None:
    """Draw the images with the most suspect labels."""
    rows = most_suspect(errors)
    some = rows[: figures.MAX_IMAGES]
    files, likelier = images.take(some).files(), errors.likelier[some]
    with class_names(images.classes, images.classes) as names:
        title = f"{len(rows)} of {len(images)} labels are suspect; those most likely wrong, with the likelier class"
        figures.suspects(
            paths.SUSPECTS_FIGURE, title, files, images.labels[some], likelier, judged.probabilities[some], names
        )


def print_in_words(metrics: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    """Print in three lines what was found."""
    print(
        f"suspect labels: {metrics['suspects']} of {metrics['judged']}, {metrics['suspects_in_test']} of them in the "
        f"test part; {paths.SUSPECTS} ranks them, `graft relabel` corrects them"
    )
    print(
        f"copies: {counts[kinds.EXACT]} exact, {counts[kinds.NEAR]} near; {counts[kinds.OTHER_LABEL]} under another "
        f"label than their picture, {counts[kinds.OTHER_PART]} in another part"
    )
    odd = [f"{counts[kind]} {kind.replace('_', ' ')}" for kind in (*kinds.CHECKS, kinds.OUTLIER) if counts[kind]]
    print(f"odd images: {', '.join(odd) or 'none'}; {paths.FINDINGS} lists all findings")


def main() -> None:
    table = read_image_table()
    statistics = Rows(lambda: statistics_of(table))
    features = FeatureFile(paths.FEATURES, np.arange(len(table)))
    judged = out_of_fold(features, table.labels, np.asarray(table.groups), len(table.classes))
    images = table.take(judged.images)
    errors = find_label_errors(judged.probabilities, images.labels)
    found = all_findings(table, statistics, judged)
    counts = Counter(finding.finding for finding in found)
    metrics = data_metrics(
        table, statistics, {kind: counts[kind] for kind in KINDS}, len(images), images.parts[errors.suspect]
    )
    write_rows(paths.FINDINGS, kinds.COLUMNS, [finding._asdict() for finding in found])
    write_suspects(paths.SUSPECTS, images, judged.probabilities, errors)
    draw(images, judged, errors)
    write_json(paths.DATA_METRICS, metrics)
    print_in_words(metrics, counts)


if __name__ == "__main__":
    run_stage(main)
