"""What the stage `inspect` writes and prints of the data: suspect labels, and how many findings of each kind."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from graft.core.files import write_rows
from graft.images.table import PARTS, ImageTable
from graft.scores.label_errors import LabelErrors

# Of metrics/suspects.csv. The user writes into the last one, and `graft relabel` reads it.
SUSPECT_COLUMNS = ("path", "label", "likelier", "p_label", "p_likelier", "score", "part", "sha256", "corrected")
# The file is in git.
MOST_SUSPECTS = 1000


def most_suspect(errors: LabelErrors) -> np.ndarray:
    """Return the images with suspect labels, the most suspect first: int64 array of indices."""
    found = np.flatnonzero(errors.suspect)
    return found[np.argsort(-errors.scores[found], kind="stable")]


def write_suspects(path: Path, images: ImageTable, probabilities: np.ndarray, errors: LabelErrors) -> None:
    """Write a CSV file of the images with suspect labels, the most suspect first, at most `MOST_SUSPECTS`.

    Parameters
    ----------
    path : of the CSV file, with the columns `SUSPECT_COLUMNS`; `corrected` is empty.
    images : that were judged.
    probabilities : float array (images, classes).
    errors : of these images.
    """
    write_rows(path, SUSPECT_COLUMNS, _suspect_rows(images, probabilities, errors))


def _suspect_rows(images: ImageTable, probabilities: np.ndarray, errors: LabelErrors) -> Iterator[dict[str, object]]:
    for image in most_suspect(errors)[:MOST_SUSPECTS]:
        label, likelier = images.labels[image], errors.likelier[image]
        values = (
            images.paths[image],
            images.classes[label],
            images.classes[likelier],
            f"{probabilities[image, label]:.6f}",
            f"{probabilities[image, likelier]:.6f}",
            f"{errors.scores[image]:.6f}",
            images.parts[image],
            images.sha256[image],
            "",
        )
        yield dict(zip(SUSPECT_COLUMNS, values, strict=True))


def data_metrics(
    images: ImageTable,
    statistics: Iterable[Mapping[str, str]],
    findings: Mapping[str, int],
    judged: int,
    suspects: np.ndarray,
) -> dict[str, object]:
    """Return the content of metrics/data.json.

    Parameters
    ----------
    images : all images.
    statistics : a row of data/image_statistics.csv for each of them, which are gone through more than once.
    findings : how many there are of each kind, 0 for none.
    judged : how many images have a probability of a classifier that was not trained on them.
    suspects : str array (suspects,), the part of each image with a suspect label.

    Returns
    -------
    images, classes, smallest_class, largest_class, train, validation, test : numbers of images, and of classes.
    judged, suspects, suspects_in_test, suspect_share : of the labels; the share, from 0 to 1, is of the judged ones.
    findings : the counts.
    formats : how many images have each format.
    width, height : {"least", "median", "most"}, in pixels.
    """
    sizes = np.bincount(images.labels, minlength=len(images.classes))
    parts = Counter(images.parts.tolist())
    return {
        "images": len(images),
        "classes": len(images.classes),
        "smallest_class": int(sizes.min()),
        "largest_class": int(sizes.max()),
        **{part: parts[part] for part in PARTS},
        "judged": judged,
        "suspects": len(suspects),
        "suspects_in_test": int((suspects == "test").sum()),
        "suspect_share": round(len(suspects) / max(judged, 1), 6),
        "findings": dict(findings),
        "formats": dict(sorted(Counter(row["format"] for row in statistics).items())),
        **{side: _range(np.fromiter((int(row[side]) for row in statistics), int)) for side in ("width", "height")},
    }


def _range(values: np.ndarray) -> dict[str, float]:
    return {"least": int(values.min()), "median": float(np.median(values)), "most": int(values.max())}
