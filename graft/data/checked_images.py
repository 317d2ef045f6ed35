"""What stage download finds in a folder: every image read once, and the report of it."""

from collections import Counter
from pathlib import Path

from tqdm import tqdm

from graft.core.errors import GraftError
from graft.core.threads import in_order
from graft.data.folders import Found, Image, examine, require_each
from graft.settings.datasets import Entry


def read_images(folder: Path, found: list[Found]) -> list[Image]:
    """Read every image file, in threads, in the order given."""
    images = in_order(lambda image: examine(folder, image), found)
    return list(tqdm(images, "images", len(found), unit="", leave=False, disable=None))


def check_images(images: list[Image], entry: Entry, strict: bool, dataset: str) -> None:
    """Raise a `GraftError` unless every class has a readable image and the counts are those of the catalog."""
    refused = [image for image in images if image.refused]
    if strict and refused:
        first = refused[0]
        raise GraftError(
            f"{first.found.path}: {first.refused}; {len(refused)} of {len(images)} images are refused, "
            "mend or remove them, or set strict: false"
        )
    labels = {image.found.label for image in images}
    require_each(labels, {image.found.label for image in images if not image.refused}, dataset)
    for kind, found, expected in (("images", len(images), entry.images), ("classes", len(labels), entry.classes)):
        if expected not in (None, found):
            raise GraftError(f"{dataset}: {found} {kind} found, but its catalog entry says {expected}")


def image_report(images: list[Image], others: dict[str, int]) -> dict[str, object]:
    """Return what data/raw.json says.

    Returns
    -------
    images : how many are kept.
    classes : how many of each class.
    look_alikes : how many have the perceptual hash of another, and go where it goes.
    refused : path and reason of each image that is not kept.
    other_files : how many files without an image's name there are, by suffix.
    """
    kept = [image for image in images if not image.refused]
    return {
        "images": len(kept),
        "classes": dict(sorted(Counter(image.found.label for image in kept).items())),
        "look_alikes": len(kept) - len({image.group for image in kept}),
        "refused": [image.refusal() for image in images if image.refused],
        "other_files": others,
    }
