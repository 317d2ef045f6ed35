"""The image files of a data set, each read once: its hashes, or why it is refused; and the report of all."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from graft.core.errors import GraftError
from graft.core.threads import in_order
from graft.data.folders import ImageFile, require_images
from graft.data.perceptual_hash import GRID, perceptual_hash
from graft.images import loader
from graft.images.table import COLUMNS
from graft.settings.datasets import Entry


@dataclass(frozen=True)
class CheckedImage:
    """An image file that was read.

    Attributes
    ----------
    file : where it is, and its class.
    sha256 : of its bytes, 64 hexadecimal digits; empty where it is refused.
    group : its perceptual hash; images of one group look alike, and are mostly copies of each other.
    refused : why it cannot be used; empty for a readable image.
    """

    file: ImageFile
    sha256: str = ""
    group: str = ""
    refused: str = ""

    def row(self) -> dict[str, str]:
        """Return the image as a row of data/images.csv, by `COLUMNS`."""
        values = (self.file.path.as_posix(), self.file.label, self.file.split, self.sha256, self.group)
        return dict(zip(COLUMNS, values, strict=True))

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
        content = (folder / file.path).read_bytes()
        picture = loader.decode(content, GRID, "")
    except loader.UnreadableImageError as error:
        return CheckedImage(file, refused=str(error).removeprefix(": "))
    except UnicodeEncodeError:
        return CheckedImage(file, refused="its name is not UTF-8")
    except OSError as error:
        return CheckedImage(file, refused=f"cannot be read ({error.strerror})")
    return CheckedImage(file, hashlib.sha256(content).hexdigest(), perceptual_hash(picture))


def check_images(folder: Path, files: list[ImageFile]) -> list[CheckedImage]:
    """Read all image files of a data set's folder, in threads, and return them in the order given."""
    images = in_order(lambda file: check_image(folder, file), files)
    return list(tqdm(images, "images", len(files), unit="", leave=False, disable=None))


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
    labels = {image.file.label for image in images}
    require_images(labels, {image.file.label for image in images if not image.refused}, dataset)
    for kind, count, expected in (("images", len(images), entry.images), ("classes", len(labels), entry.classes)):
        if expected not in (None, count):
            raise GraftError(f"{dataset}: {count} {kind} found, but its catalog entry says {expected}")


def image_report(images: list[CheckedImage], other_files: Mapping[str, int]) -> dict[str, object]:
    """Return the content of data/raw.json.

    Returns
    -------
    images : how many are kept.
    classes : how many are kept of each class.
    look_alikes : how many have the same perceptual hash as an earlier one; they go to the same part as it.
    refused : path and reason of each image that is not kept.
    other_files : how many other files were left out: by suffix, and what an archive holds beside files by its kind.
    """
    kept = [image for image in images if not image.refused]
    return {
        "images": len(kept),
        "classes": dict(sorted(Counter(image.file.label for image in kept).items())),
        "look_alikes": len(kept) - len({image.group for image in kept}),
        "refused": [image.refusal() for image in images if image.refused],
        "other_files": dict(other_files),
    }
