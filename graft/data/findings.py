"""What is odd about the images of a data set: copies, and images unlike the others in light, detail, size or shape."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from graft.scores.unusual import MOST, modified_z_scores

# Of data/findings.csv.
COLUMNS = ("finding", "path", "other", "value")
Row = Mapping[str, str]
# The findings about copies, as data/findings.csv calls them.
EXACT, NEAR, OTHER_LABEL, OTHER_PART = "exact_copy", "near_copy", "copy_with_other_label", "copy_in_other_part"
COPIES = (EXACT, NEAR, OTHER_LABEL, OTHER_PART)
OUTLIER, REFUSED = "outlier", "refused"
# From the part that may be learnt from to the part that must be unseen.
ORDER = ("train", "validation", "test")


class Finding(NamedTuple):
    """A row of data/findings.csv.

    Attributes
    ----------
    finding : what is odd, a key of `CHECKS`, one of `COPIES`, `OUTLIER` or `REFUSED`.
    path : of the image, below data/raw.
    other : the path of its copy; empty where it is not about copies.
    value : what was measured; of copies with another label or in another part, that of the copy.
    """

    finding: str
    path: str
    other: str = ""
    value: str = ""


class Check(NamedTuple):
    """When an image is odd: it is unusual among the others, and noticeable to a person too.

    Attributes
    ----------
    measure : from the columns of data/image_statistics.csv, float64 arrays, to a number for each image.
    sides : -1 if small numbers are odd, 1 if large ones are, 0 for both.
    noticeable : from these numbers and their median to a bool array.
    """

    measure: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    sides: int
    noticeable: Callable[[np.ndarray, float], np.ndarray]


def _log2(values: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(values, 0.01))


# A photograph of usual light has a mean grey level of about a half. A side of half the length has a quarter of the
# pixels; the crop that the network sees has two thirds of a picture of 3:2, and one third of one twice as long.
CHECKS = {
    "dark": Check(lambda of: of["brightness"], -1, lambda values, median: values < 0.2),
    "bright": Check(lambda of: of["brightness"], 1, lambda values, median: values > 0.8),
    # A tenth of the usual variance of the Laplacian, half of the usual bits.
    "blurred": Check(lambda of: _log2(of["sharpness"]), -1, lambda values, median: values < median - np.log2(10)),
    "low_information": Check(lambda of: of["entropy"], -1, lambda values, median: values < median / 2),
    "odd_size": Check(
        lambda of: _log2(of["width"] * of["height"]) / 2, 0, lambda values, median: np.abs(values - median) >= 1
    ),
    "odd_shape": Check(
        lambda of: np.abs(_log2(of["width"] / of["height"])), 0, lambda values, median: np.abs(values - median) >= 1
    ),
}
NUMBERS = ("width", "height", "brightness", "sharpness", "entropy")
# What data/findings.csv shows of each check.
SHOWN = {"dark": "brightness", "bright": "brightness", "blurred": "sharpness", "low_information": "entropy"}


def find_copies(images: Iterable[Row]) -> list[Finding]:
    """Return the copies among the images, each with the picture that it is a copy of.

    Parameters
    ----------
    images : rows of data/split.csv, which are gone through more than once.
    """
    groups, repeated = defaultdict(list), _repeated(image["group"] for image in images)
    for image in images:
        if hash(image["group"]) in repeated:
            groups[image["group"]].append(image)
    found = [finding for group in groups.values() if len(group) > 1 for finding in _of_group(group)]
    return sorted(found, key=lambda finding: COPIES.index(finding.finding))


def _repeated(names: Iterable[str]) -> set[int]:
    """Return the hash of each name that occurs twice; by chance a few others. Eight bytes a name are in memory."""
    hashes = np.fromiter(map(hash, names), np.int64)
    hashes.sort()
    return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def _of_group(group: Sequence[Row]) -> Iterator[Finding]:
    # The group has the name of the picture that the others are copies of.
    first = next((image for image in group if image["sha256"].startswith(image["group"])), group[0])
    same: dict[str, Row] = {first["sha256"]: first}
    for image in group:
        known = same.setdefault(image["sha256"], image)
        if known is not image:
            yield Finding(EXACT, image["path"], known["path"])
        elif image is not first:
            yield Finding(NEAR, image["path"], first["path"])
        if image["label"] != first["label"]:
            yield Finding(OTHER_LABEL, image["path"], first["path"], first["label"])
    for image in group:
        earlier = ORDER[: ORDER.index(image["split"])]
        other = next((other for part in earlier for other in group if other["split"] == part), None)
        if other:
            yield Finding(OTHER_PART, image["path"], other["path"], other["split"])


def find_odd(statistics: Iterable[Row]) -> list[Finding]:
    """Return the images that are unlike the others, for each of `CHECKS` the oddest first.

    An image is odd if its modified z-score is beyond 3.5 (Iglewicz and Hoaglin 1993) and a person would notice. So a
    set of dark pictures has no dark ones, and small differences between equal pictures do not count.

    Parameters
    ----------
    statistics : rows of data/image_statistics.csv, one or more, which are gone through twice.
    """
    values = np.fromiter((float(row[name]) for row in statistics for name in NUMBERS), float)
    odd = _odd_rows(dict(zip(NUMBERS, values.reshape(-1, len(NUMBERS)).T, strict=True)))
    wanted = set().union(*(rows.tolist() for rows in odd.values()))
    images = {place: row for place, row in enumerate(statistics) if place in wanted}
    return [
        Finding(name, images[row]["path"], value=_shown(images[row], name))
        for name, rows in odd.items()
        for row in rows.tolist()
    ]


def _shown(image: Row, check: str) -> str:
    return image[SHOWN[check]] if check in SHOWN else f"{image['width']} x {image['height']}"


def _odd_rows(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the rows that are odd by each of `CHECKS`, the oddest first."""
    found = {}
    for name, check in CHECKS.items():
        values = check.measure(columns)
        scores = modified_z_scores(values)
        scores = np.abs(scores) if check.sides == 0 else check.sides * scores
        odd = np.flatnonzero((scores > MOST) & check.noticeable(values, float(np.median(values))))
        found[name] = odd[np.argsort(-scores[odd], kind="stable")]
    return found


def find_outliers(paths: Sequence[str], distances: np.ndarray) -> list[Finding]:
    """Return the images whose features are far from those of all classes, the farthest first.

    Parameters
    ----------
    paths : of the images.
    distances : float array (images,), from the nearest class, from 0.
    """
    if not len(distances):
        return []
    scores = modified_z_scores(_log2(distances))
    far = np.flatnonzero(scores > MOST)
    return [
        Finding(OUTLIER, str(paths[row]), value=f"{distances[row]:.4g}")
        for row in far[np.argsort(-scores[far], kind="stable")]
    ]
