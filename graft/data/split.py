"""The split: each image goes to training, validation or test by its perceptual hash."""

import hashlib
from collections.abc import Collection

from graft.core.errors import GraftError
from graft.settings import params


def uniform(group: str, purpose: str, seed: int) -> float:
    """Return a number from 0 and below 1, uniform over groups, that depends on the three arguments alone."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_part(group: str, given_parts: Collection[str], settings: params.Split) -> str:
    """Return train, validation or test for the images of one group.

    The group's own hash alone decides: a new image moves no other, and copies of a picture stay together.

    Parameters
    ----------
    group : perceptual hash of the picture.
    given_parts : parts that the data set has already; no group is added to its validation or test part.
    settings : `split` of params.yaml.
    """
    if "test" not in given_parts and int(uniform(group, "fold", settings.seed) * settings.folds) == settings.fold:
        return "test"
    if "validation" not in given_parts and uniform(group, "validation", settings.seed) < settings.validation:
        return "validation"
    return "train"


def split_images(images: list[dict[str, str]], settings: params.Split) -> list[dict[str, str]]:
    """Return the rows of data/images.csv with a part in each `split`; the data set's own validation and test part stay.

    Raises
    ------
    GraftError
        If a class has no training image, or there is no test or validation image at all.
    """
    given_parts = {image["split"] for image in images}
    rows = [
        image
        if image["split"] in ("validation", "test")
        else image | {"split": assign_part(image["group"], given_parts, settings)}
        for image in images
    ]
    untrained = {row["label"] for row in rows} - {row["label"] for row in rows if row["split"] == "train"}
    if untrained:
        raise GraftError(
            f"split: no training image left for class {', '.join(map(repr, sorted(untrained)))}; "
            "add images, change split.seed, or raise split.folds"
        )
    missing = {"validation", "test"} - {row["split"] for row in rows}
    if missing:
        raise GraftError(
            f"split: no {' and no '.join(sorted(missing))} image among {len(rows)}; add images or change split.seed"
        )
    return rows
