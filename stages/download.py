"""Stage download: bring the images to data/raw, and list what was found and what was refused."""

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from stages.parts import archives, embedded, folders, layouts, params
from stages.parts.catalog import Entry
from stages.parts.errors import GraftError, run
from stages.parts.files import sha256_of, write_json, write_rows
from stages.parts.images import left_out
from stages.parts.threads import in_order

SOURCE = Path("data/source")
RAW = Path("data/raw")
REPORT = Path("data/raw.json")
LIST = Path("data/images.csv")


def unpacked(source: Path, sha256: str | None, folder: Path) -> Path:
    """Return a folder with the images of `source`: itself, or `folder` with its content written there."""
    if source.is_dir():
        return source
    if source.is_symlink():
        archive = source.resolve()
        if sha256:
            archives.check_sha256(archive, sha256)
        archives.unpack(archive, folder)
        return folder
    entry = Entry.model_validate(json.loads(source.read_text(encoding="utf-8")))
    if entry.embedded:
        embedded.write(entry.embedded, folder)
        return folder
    return fetched(entry, folder)


def fetched(entry: Entry, folder: Path) -> Path:
    """Return the folder with the images of a catalog entry or an address: `folder`, or one beside it."""
    # Beside the repository's other caches: an experiment in a temporary clone finds it there too.
    cache = Path(os.environ.get("DVC_ROOT", "."), ".cache/downloads")
    archive = archives.fetch(entry.url, entry.sha256, cache)
    if not entry.sha256:
        print(f"{entry.url}: no checksum is published; dataset_sha256: {sha256_of(archive)} would insist on this file")
    files = {PurePosixPath(file.url).name: archives.fetch(file.url, file.sha256, cache) for file in entry.files or ()}
    archives.unpack(archive, folder)
    return layouts.arranged(entry, folder, folder.with_name("arranged"), files)


def examined(folder: Path, found: list[folders.Found]) -> list[folders.Image]:
    """Read every image file, in threads, in the order given."""
    images = in_order(lambda image: folders.examine(folder, image), found)
    return list(tqdm(images, "images", len(found), unit="", leave=False, disable=None))


def check(images: list[folders.Image], entry: Entry, strict: bool, dataset: str) -> None:
    """Raise a `GraftError` unless every class has a readable image and the counts are those of the catalog."""
    refused = [image for image in images if image.refused]
    if strict and refused:
        first = refused[0]
        raise GraftError(
            f"{first.found.path}: {first.refused}; {len(refused)} of {len(images)} images are refused, "
            "mend or remove them, or set strict: false"
        )
    labels = {image.found.label for image in images}
    folders.require_each(labels, {image.found.label for image in images if not image.refused}, dataset)
    for kind, found, expected in (("images", len(images), entry.images), ("classes", len(labels), entry.classes)):
        if expected not in (None, found):
            raise GraftError(f"{dataset}: {found} {kind} found, but its catalog entry says {expected}")


def report(images: list[folders.Image], others: dict[str, int]) -> dict[str, object]:
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


def main() -> None:
    parameters = params.load()
    entry = Entry() if SOURCE.is_symlink() else Entry.model_validate(json.loads(SOURCE.read_text(encoding="utf-8")))
    RAW.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RAW.parent, prefix=".part-") as temporary:
        folder = folders.top(unpacked(SOURCE, parameters.dataset_sha256, Path(temporary, "unpacked")))
        images = examined(folder, folders.find_images(folder, parameters.dataset))
        others = folders.other_files(folder)
        check(images, entry, parameters.strict, parameters.dataset)
        kept = [image for image in images if not image.refused]
        move = shutil.copyfile if SOURCE.is_dir() else os.replace
        for image in kept:
            target = Path(temporary, "raw", image.found.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            move(folder / image.found.path, target)
        if RAW.exists():
            os.replace(RAW, Path(temporary, "earlier"))
        os.replace(Path(temporary, "raw"), RAW)
    write_rows(LIST, folders.COLUMNS, [image.row() for image in kept])
    summary = report(images, others)
    write_json(REPORT, summary)
    if others:
        print(left_out(others))
    print(f"{len(kept)} images in {len(summary['classes'])} classes, {len(summary['refused'])} refused")


if __name__ == "__main__":
    run(main)
