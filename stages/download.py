"""Stage download: bring the images to data/raw, and list what was found and what was refused."""

import os
import shutil
import tempfile
from pathlib import Path

from graft.core import paths
from graft.core.errors import run
from graft.core.files import write_json, write_rows
from graft.data import folders
from graft.data.images import check_images, image_report, read_images
from graft.data.source import entry_of, unpacked
from graft.images.loader import left_out
from graft.settings import params


def move_images(images: list[folders.Image], source: Path, temporary: Path) -> None:
    """Put the images below data/raw, in place of the earlier ones; those of a local folder are copied.

    Parameters
    ----------
    images : to put there.
    source : the folder that they are in.
    temporary : a folder beside data/raw, for the new images before they replace the earlier ones.
    """
    move = shutil.copyfile if paths.SOURCE.is_dir() else os.replace
    new = temporary / "raw"
    for image in images:
        target = new / image.found.path
        target.parent.mkdir(parents=True, exist_ok=True)
        move(source / image.found.path, target)
    if paths.RAW.exists():
        os.replace(paths.RAW, temporary / "earlier")
    os.replace(new, paths.RAW)


def main() -> None:
    parameters = params.load()
    paths.RAW.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.RAW.parent, prefix=".part-") as name:
        temporary = Path(name)
        source = folders.top(unpacked(paths.SOURCE, parameters.dataset_sha256, temporary / "unpacked"))
        images = read_images(source, folders.find_images(source, parameters.dataset))
        others = folders.other_files(source)
        check_images(images, entry_of(paths.SOURCE), parameters.strict, parameters.dataset)
        kept = [image for image in images if not image.refused]
        move_images(kept, source, temporary)
    write_rows(paths.IMAGES, folders.COLUMNS, [image.row() for image in kept])
    report = image_report(images, others)
    write_json(paths.RAW_REPORT, report)
    if others:
        print(left_out(others))
    print(f"{len(kept)} images in {len(report['classes'])} classes, {len(report['refused'])} refused")


if __name__ == "__main__":
    run(main)
