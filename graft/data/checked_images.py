"""The image files of a data set, each read once: its hashes, or why it is refused; and the report of all."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from graft.core.errors import GraftError
from graft.core.progress import Progress
from graft.core.threads import in_order
from graft.data.copies import DECODED_SIDE, Fingerprint, fingerprint, first_copies
from graft.data.folders import ImageFile, require_images
from graft.data.image_statistics import ImageStatistics, image_statistics
from graft.images import loader
from graft.images.decoder import UnreadableImageError, decode, size_and_format
from graft.images.table import COLUMNS
from graft.settings.datasets import Entry


@dataclass(frozen=True)
class CheckedImage:
    """An image file that was read.

    Attributes
    ----------
    file : where it is, and its class.
    sha256 : of its bytes, 64 hexadecimal digits; empty where it is refused.
    bytes : the size of the file.
    statistics : its width, height, brightness and so on; None where it is refused.
    fingerprint : what is compared with other images; None where it is refused.
    refused : why it cannot be used; empty for a readable image.
    group : the same for copies of one picture, 16 hexadecimal digits; empty until `with_groups` is called.
    """

    file: ImageFile
    sha256: str = ""
    bytes: int = 0
    statistics: ImageStatistics | None = None
    fingerprint: Fingerprint | None = None
    refused: str = ""
    group: str = ""

    def row(self) -> dict[str, str]:
        """Return the image as a row of data/images.csv, by `COLUMNS`."""
        values = (self.file.path.as_posix(), self.file.label, self.file.split, self.sha256, self.group)
        return dict(zip(COLUMNS, values, strict=True))

    def statistics_row(self) -> dict[str, object]:
        """Return the image, which was not refused, as a row of data/image_statistics.csv."""
        return {"path": self.file.path.as_posix()} | asdict(self.statistics)  # type: ignore[arg-type]

    def refusal(self) -> dict[str, str]:
        """Return the image as an entry of `refused` in data/raw.json: its path and the reason."""
        # The reason may be that the name is not UTF-8.
        path = self.file.path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
        return {"path": path, "reason": self.refused}


def check_image(folder: Path, file: ImageFile) -> CheckedImage:
    """Read an image file of a data set's folder whole, and return its hashes, or why it is refused."""
    # A line end, for example: a table has one line for each image.
    if any(unicodedata.category(character) == "Cc" for character in file.path.as_posix()):
        return CheckedImage(file, refused="its name has a control character")
    try:
        file.path.as_posix().encode("utf-8")
        content = loader.content(folder / file.path)
        picture = decode(content, DECODED_SIDE, "")
    except UnreadableImageError as error:
        return CheckedImage(file, refused=str(error).removeprefix(str(folder / file.path)).removeprefix(": "))
    except UnicodeEncodeError:
        return CheckedImage(file, refused="its name is not UTF-8")
    statistics = image_statistics(picture, *size_and_format(content), len(content))
    sha256 = hashlib.sha256(content).hexdigest()
    return CheckedImage(file, sha256, len(content), statistics, fingerprint(picture))


def check_images(folder: Path, files: list[ImageFile]) -> list[CheckedImage]:
    """Read all image files of a data set's folder, in threads, and return them in the order given, with groups."""
    images = in_order(lambda file: check_image(folder, file), files)
    return with_groups(list(Progress(images, "images", len(files))))


def with_groups(images: list[CheckedImage]) -> list[CheckedImage]:
    """Return the images with a group each, and without fingerprints.

    The group is the first 16 digits of the SHA-256 of the largest file among an image and its copies; of equal sizes,
    the smallest SHA-256 counts. So a new image never moves an image that it is no copy of, and a new copy moves the
    others only where its file is larger than theirs.
    """
    readable = [place for place, image in enumerate(images) if not image.refused]
    readable.sort(key=lambda place: (-images[place].bytes, images[place].sha256))
    # What is readable has a fingerprint.
    firsts = first_copies([images[place].fingerprint for place in readable])  # type: ignore[misc]
    grouped = list(images)
    for place, first in zip(readable, firsts, strict=True):
        group = images[readable[first]].sha256[:16]
        grouped[place] = replace(images[place], fingerprint=None, group=group)
    return grouped


def require_complete(images: list[CheckedImage], entry: Entry, strict: bool, dataset: str) -> None:
    """Check that every class has a readable image, and that the catalog's counts are met.

    Parameters
    ----------
    images : of the whole data set.
    entry : what the catalog says of it.
    strict : whether an image that is refused is an error.
    dataset : what an error calls it.

    Raises
    ------
    GraftError
        If a class has none, a count differs, or an image is refused and `strict` is true.
    """
    refused = [image for image in images if image.refused]
    if strict and refused:
        first = refused[0]
        raise GraftError(
            f"{first.file.path}: {first.refused}; {len(refused)} of {len(images)} images are refused, "
            "mend or remove them, or set strict: false"
        )
    # A sample of a shard that has no label is refused.
    labels = {image.file.label for image in images if image.file.label}
    reasons = {image.file.label: image.refused for image in reversed(refused)}
    require_images(labels, {image.file.label for image in images if not image.refused}, dataset, reasons)
    for kind, count, expected in (("images", len(images), entry.images), ("classes", len(labels), entry.classes)):
        if expected not in (None, count):
            raise GraftError(f"{dataset}: {count} {kind} found, but its catalog entry says {expected}")


def image_report(images: list[CheckedImage], other_files: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of data/raw.json.

    Returns
    -------
    images : how many are kept.
    classes : how many are kept of each class.
    copies : how many are copies of another one; they go to the same part as it.
    refused : path and reason of each image that is not kept.
    other_files : how many other files were left out: by suffix, and what an archive holds beside files by its kind.
    """
    kept = [image for image in images if not image.refused]
    return {
        "images": len(kept),
        "classes": dict(sorted(Counter(image.file.label for image in kept).items())),
        "copies": len(kept) - len({image.group for image in kept}),
        "refused": [image.refusal() for image in images if image.refused],
        "other_files": dict(other_files),
    }
