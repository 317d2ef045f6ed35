"""The split: each image goes to training, validation or test by the hash of its group, a picture with its copies."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from graft.core.errors import GraftError
from graft.settings import params

Row = dict[str, str]
# How many images there are of each class and part.
Counts = Counter[tuple[str, str]]
# Fewer images of a class say little about it; a warning names at most so many classes.
ENOUGH, NAMED = 10, 5
REMEDIES = {
    "validation": "add images, or raise split.validation",
    "test": "add images, lower split.folds, or judge every image with `graft crossval`",
}


def uniform(group: str, purpose: str, seed: int) -> float:
    """Return a number from 0 and below 1, uniform over groups, that depends on the three arguments alone."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_part(group: str, given_parts: Collection[str], settings: params.Split) -> str:
    """Return train, validation or test for the images of one group.

    The group's name alone decides: a new image moves none that it is no copy of, and copies of a picture stay together.

    Parameters
    ----------
    group : of data/images.csv, the same for copies of a picture.
    given_parts : parts that the data set has already; no group is added to its validation or test part.
    settings : `split` of params.yaml.
    """
    if "test" not in given_parts and int(uniform(group, "fold", settings.seed) * settings.folds) == settings.fold:
        return "test"
    if "validation" not in given_parts and uniform(group, "validation", settings.seed) < settings.validation:
        return "validation"
    return "train"


def split_images(images: Iterable[Row], settings: params.Split, counts: Counts | None = None) -> Iterator[Row]:
    """Yield the rows of data/images.csv with a part in each `split`; the data set's own validation and test part stay.

    Parameters
    ----------
    images : the rows, which are gone through more than once.
    settings : `split` of params.yaml.
    counts : counts the rows by class and part.

    Raises
    ------
    GraftError
        After the last row: if a class has no training image, or there is no test or validation image at all.
    """
    counts = Counter() if counts is None else counts
    given_parts = {image["split"] for image in images}
    for image in images:
        own = image["split"]
        part = own if own in ("validation", "test") else assign_part(image["group"], given_parts, settings)
        counts[image["label"], part] += 1
        yield image | {"split": part}
    _require_parts(images, counts)


def _require_parts(images: Iterable[Row], counts: Counts) -> None:
    untrained = {label for label, _ in counts} - {label for label, part in counts if part == "train"}
    if untrained:
        raise GraftError(
            f"split: no training image left for class {', '.join(map(repr, sorted(untrained)))}; "
            "add images, change split.seed, or raise split.folds"
        )
    missing = {"validation", "test"} - {part for _, part in counts}
    if missing:
        pictures, total = len({image["group"] for image in images}), sum(counts.values())
        copies = f" (different pictures: {pictures})" if pictures < total else ""
        raise GraftError(
            f"split: no {' and no '.join(sorted(missing))} image among {total}{copies}; add images or change split.seed"
        )


def leaks(rows: Iterable[Row]) -> list[str]:
    """Return a warning, one line, if images of the test part have copies in another part.

    `split` keeps copies together, but leaves the data set's own parts as they are.

    Parameters
    ----------
    rows : of data/split.csv, which are gone through more than once.
    """
    groups = {row["group"] for row in rows if row["split"] == "test"}
    elsewhere = {row["group"] for row in rows if row["split"] != "test" and row["group"] in groups}
    if not elsewhere:
        return []
    found = [row["path"] for row in rows if row["split"] == "test" and row["group"] in elsewhere]
    tested = sum(row["split"] == "test" for row in rows)
    named = ", ".join(found[:NAMED]) + (", ..." if len(found) > NAMED else "")
    warning = (
        f"split: {len(found)} of {tested} test images have a copy in the training or validation part ({named}), so the "
        "test is too easy; data/findings.csv will list them, remove one of each two"
    )
    return [warning]


def few_images(counts: Mapping[tuple[str, str], int], given_parts: Collection[str]) -> list[str]:
    """Return a warning, one line, for validation and for test if the part has fewer than ten images of a class.

    Parameters
    ----------
    counts : the number of images of each class and part.
    given_parts : parts that the data set has already; settings do not change the size of its validation and test part.
    """
    labels = sorted({label for label, _ in counts})
    warnings = []
    for part, remedy in REMEDIES.items():
        of_label = {label: counts.get((label, part), 0) for label in labels}
        few = sorted((label for label in labels if of_label[label] < ENOUGH), key=of_label.__getitem__)
        if few:
            named = ", ".join(f"{label!r} {of_label[label]}" for label in few[:NAMED])
            more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
            warnings.append(
                f"split: the {part} part has fewer than {ENOUGH} images of {len(few)} of {len(labels)} classes "
                f"({named}{more}); {'add images of them' if part in given_parts else remedy}"
            )
    return warnings
