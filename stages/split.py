"""Stage split: deal the images to training, validation and test by the hash of what they show."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stages.parts import params
from stages.parts.errors import GraftError, run
from stages.parts.files import read_rows, write_rows
from stages.parts.folders import COLUMNS

LIST = Path("data/images.csv")
SPLIT = Path("data/split.csv")


def share(group: str, purpose: str, seed: int) -> float:
    """Return a number from 0 and below 1, uniform over groups, that depends on the three arguments alone."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def part_of(group: str, brought: Iterable[str], settings: params.Split) -> str:
    """Return train, validation or test for the images of one group.

    Only the group's own hash decides, so that adding images moves none, and copies of a picture stay together.

    Parameters
    ----------
    group : perceptual hash of the picture.
    brought : the parts that the data set brings (empty strings are none); they are not drawn again.
    settings : `split` of params.yaml.
    """
    if "test" not in brought and int(share(group, "fold", settings.seed) * settings.folds) == settings.fold:
        return "test"
    if "validation" not in brought and share(group, "validation", settings.seed) < settings.validation:
        return "validation"
    return "train"


def dealt(images: list[dict[str, str]], settings: params.Split) -> list[dict[str, str]]:
    """Return the rows of data/images.csv with `split` filled in; a part that the data set brings is kept.

    Raises
    ------
    GraftError
        If a class is left without a training image, or there is no test or validation image at all.
    """
    brought = {image["split"] for image in images}
    rows = [
        image
        if image["split"] in ("validation", "test")
        else image | {"split": part_of(image["group"], brought, settings)}
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


def main() -> None:
    parameters = params.load()
    rows = dealt(read_rows(LIST), parameters.split)
    write_rows(SPLIT, COLUMNS, rows)
    counts = Counter(row["split"] for row in rows)
    print(", ".join(f"{counts[part]} {part}" for part in ("train", "validation", "test")))


if __name__ == "__main__":
    run(main)
