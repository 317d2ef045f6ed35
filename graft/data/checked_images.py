"""The image files of a data set, each read once: its hashes, or why it is refused; and the report of all."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from graft.core.errors import GraftError
from graft.core.object_file import ObjectFile
from graft.core.progress import Progress
from graft.core.threads import in_order
from graft.data.copies import DECODED_SIDE, Fingerprint, Fingerprints, fingerprint
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
    group : the same for copies of one picture, 16 hexadecimal digits; empty until `CheckedImages` has compared them.
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


def check_image(folder: Path, file: ImageFile, max_pixels: int) -> CheckedImage:
    """Read an image file of a data set's folder whole, and return its hashes, or why it is refused.

    `max_pixels` is `limits.pixels` of params.yaml.
    """
    # A line end, for example: a table has one line for each image.
    if any(unicodedata.category(character) == "Cc" for character in file.path.as_posix()):
        return CheckedImage(file, refused="its name has a control character")
    try:
        file.path.as_posix().encode("utf-8")
        content = loader.content(folder / file.path)
        picture = decode(content, DECODED_SIDE, "", max_pixels=max_pixels)
    except UnreadableImageError as error:
        return CheckedImage(file, refused=str(error).removeprefix(str(folder / file.path)).removeprefix(": "))
    except UnicodeEncodeError:
        return CheckedImage(file, refused="its name is not UTF-8")
    statistics = image_statistics(picture, *size_and_format(content), len(content))
    sha256 = hashlib.sha256(content).hexdigest()
    return CheckedImage(file, sha256, len(content), statistics, fingerprint(picture))


class CheckedImages:
    """The images of a data set, each read once. All but those refused are in a file: memory does not grow with them.

    Each loop over it yields all readable images with their groups, in their order, then those refused.

    The group is the first 16 digits of the SHA-256 of the largest file among an image and its copies; of equal sizes,
    the smallest SHA-256 counts. So a new image never moves an image that it is no copy of, and a new copy moves the
    others only where its file is larger than theirs.

    Parameters
    ----------
    images : the images, with fingerprints; they are read at once.
    temporary : an existing folder for files.

    Attributes
    ----------
    refused : the images that cannot be used.
    """

    def __init__(self, images: Iterable[CheckedImage], temporary: Path) -> None:
        self.refused: list[CheckedImage] = []
        fingerprints = Fingerprints(temporary / "fingerprints")
        self._readable = ObjectFile(temporary / "images", self._without_fingerprints(images, fingerprints))
        self._firsts = fingerprints.first_copies()

    def _without_fingerprints(
        self, images: Iterable[CheckedImage], fingerprints: Fingerprints
    ) -> Iterator[CheckedImage]:
        for image in images:
            if image.fingerprint is None:
                self.refused.append(image)
            else:
                fingerprints.add(image.fingerprint, image.bytes, image.sha256)
                yield replace(image, fingerprint=None)

    def __len__(self) -> int:
        return len(self._readable) + len(self.refused)

    def __iter__(self) -> Iterator[CheckedImage]:
        yield from self.readable()
        yield from self.refused

    def readable(self) -> Iterator[CheckedImage]:
        """Yield the images that are not refused."""
        for number, image in enumerate(self._readable):
            first = self._firsts.get(number)
            yield replace(image, group=(first.sha256 if first else image.sha256)[:16])

    def groups(self) -> int:
        """Return how many groups there are."""
        # The first one of a group may be a copy itself, and is then in another group.
        names = {first.number for first in self._firsts.values()}
        return len(self._readable) - len(self._firsts) + len(names & self._firsts.keys())


def check_images(
    folder: Path,
    files: Sequence[ImageFile] | ObjectFile[ImageFile],
    temporary: Path,
    max_pixels: int,
    refused: Iterable[CheckedImage] = (),
) -> CheckedImages:
    """Read all image files of a data set's folder, in threads, and return them in the order given.

    Parameters
    ----------
    folder : of the data set.
    files : its images.
    temporary : an existing folder for files.
    max_pixels : an image with more pixels in memory is refused.
    refused : images that are refused already; they come last.
    """
    images = in_order(lambda file: check_image(folder, file, max_pixels), files)
    return CheckedImages(chain(Progress(images, "images", len(files)), refused), temporary)


def require_complete(images: Iterable[CheckedImage], entry: Entry, strict: bool, dataset: str) -> None:
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
    readable: Counter[str] = Counter()
    refused = []
    for image in images:
        if image.refused:
            refused.append(image)
        else:
            readable[image.file.label] += 1
    total = readable.total() + len(refused)
    if strict and refused:
        first = refused[0]
        raise GraftError(
            f"{first.file.path}: {first.refused}; {len(refused)} of {total} images are refused, "
            "mend or remove them, or set strict: false"
        )
    reasons = {image.file.label: image.refused for image in reversed(refused)}
    # A sample of a shard that has no label is refused.
    labels = {label for label in readable.keys() | reasons.keys() if label}
    require_images(labels, set(readable), dataset, reasons)
    for kind, count, expected in (("images", total, entry.images), ("classes", len(labels), entry.classes)):
        if expected not in (None, count):
            raise GraftError(f"{dataset}: {count} {kind} found, but its catalog entry says {expected}")


def image_report(images: CheckedImages, other_files: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of data/raw.json.

    Returns
    -------
    images : how many are kept.
    classes : how many are kept of each class.
    copies : how many are copies of another one; they go to the same part as it.
    refused : path and reason of each image that is not kept.
    other_files : how many other files were left out: by suffix, and what an archive holds beside files by its kind.
    """
    classes = Counter(image.file.label for image in images.readable())
    return {
        "images": classes.total(),
        "classes": dict(sorted(classes.items())),
        "copies": classes.total() - images.groups(),
        "refused": [image.refusal() for image in images.refused],
        "other_files": dict(other_files),
    }
