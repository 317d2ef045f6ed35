"""Stage download: bring the images to data/raw, and list what was found and what was refused."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from graft.core import paths
from graft.core.files import temporary_folder, write_json, write_rows
from graft.core.stage import run_stage
from graft.data import folders
from graft.data.archives import Bounds
from graft.data.checked_images import CheckedImage, check_images, image_report, require_complete
from graft.data.image_statistics import COLUMNS as STATISTICS_COLUMNS
from graft.data.source import image_folder, read_entry
from graft.data.transfer import Limits
from graft.images.loader import left_out
from graft.images.table import COLUMNS
from graft.settings import params

OUTPUTS = (paths.RAW, paths.RAW_REPORT, paths.IMAGES, paths.IMAGE_STATISTICS)


def collect(images: Sequence[CheckedImage], source: Path, target: Path) -> None:
    """Move images from the folder `source` to the new folder `target`; copy those of a local data set."""
    copy_or_move = shutil.copyfile if paths.SOURCE.is_dir() else os.replace
    for image in images:
        path = target / image.file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        copy_or_move(source / image.file.path, path)


def report_folders(source: Path, files: Sequence[folders.ImageFile]) -> dict[str, int]:
    """Print what is odd about the folders; return how many images are outside the class folders, {} for none."""
    without_class = folders.count_without_class(source, files)
    for kind, number in without_class.items():
        print(f"left out: {number} {kind}")
    for pair in folders.case_pairs(file.label for file in files):
        print(f"{' and '.join(map(repr, pair))} differ in case alone; they are taken for {len(pair)} classes")
    return without_class


def replace_outputs(new: Path, earlier: Path) -> None:
    """Put the outputs in the folder `new` into the places of the earlier ones, all of them or none.

    Parameters
    ----------
    new : a folder with the outputs by their names.
    earlier : an empty folder for the earlier outputs; they return to their places if anything fails.
    """
    try:
        for output in OUTPUTS:
            if os.path.lexists(output):
                os.replace(output, earlier / output.name)
            os.replace(new / output.name, output)
    except BaseException:
        for output in OUTPUTS:
            if not (new / output.name).exists():
                os.replace(output, new / output.name)
            if os.path.lexists(earlier / output.name):
                os.replace(earlier / output.name, output)
        raise


def main() -> None:
    parameters = params.load()
    with temporary_folder(paths.RAW.parent) as temporary:
        new, earlier = temporary / "new", temporary / "earlier"
        new.mkdir()
        earlier.mkdir()
        bounds = Bounds(parameters.limits.unpacked_size, parameters.limits.files)
        limits = Limits(parameters.limits.download_size, parameters.limits.download_seconds)
        source, links = image_folder(paths.SOURCE, parameters.dataset_sha256, temporary / "unpacked", bounds, limits)
        folders.check_links(source, parameters.dataset)
        source = folders.skip_wrappers(source)
        others = dict(sorted((folders.count_other_files(source) | links).items()))
        if others:
            print(left_out(others))
        files = folders.find_images(source, parameters.dataset)
        others |= report_folders(source, files)
        images = check_images(source, files)
        require_complete(images, read_entry(paths.SOURCE), parameters.strict, parameters.dataset)
        kept = [image for image in images if not image.refused]
        report = image_report(images, others)
        collect(kept, source, new / paths.RAW.name)
        write_rows(new / paths.IMAGES.name, COLUMNS, [image.row() for image in kept])
        statistics = [image.statistics_row() for image in kept]
        write_rows(new / paths.IMAGE_STATISTICS.name, STATISTICS_COLUMNS, statistics)
        write_json(new / paths.RAW_REPORT.name, report)
        replace_outputs(new, earlier)
    print(f"{len(kept)} images in {len(report['classes'])} classes, {len(report['refused'])} refused")


if __name__ == "__main__":
    run_stage(main)
