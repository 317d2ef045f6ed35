"""Stage download: bring the images to data/raw, and list what was found and what was refused."""

import os
from pathlib import Path

from graft.core import paths
from graft.core.files import temporary_folder, write_json, write_rows
from graft.core.stage import run_stage
from graft.data.archives import Bounds
from graft.data.checked_images import check_images, image_report, require_complete
from graft.data.gather import gather, keep
from graft.data.image_statistics import COLUMNS as STATISTICS_COLUMNS
from graft.data.source import read_entry
from graft.data.transfer import Limits
from graft.images.table import COLUMNS
from graft.settings import params

# The folder last: where it is without the others, it is none of this stage's (stages/resolve.py).
OUTPUTS = (paths.RAW_REPORT, paths.IMAGES, paths.IMAGE_STATISTICS, paths.RAW)


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
        raw = new / paths.RAW.name
        raw.mkdir(parents=True)
        earlier.mkdir()
        bounds = Bounds(parameters.limits.unpacked_size, parameters.limits.files)
        limits = Limits(parameters.limits.download_size, parameters.limits.download_seconds)
        dataset, sha256 = parameters.dataset, parameters.dataset_sha256
        gathered = gather(paths.SOURCE, dataset, sha256, temporary, raw, bounds, limits)
        images = check_images(gathered.folder, gathered.files, temporary, parameters.limits.pixels, gathered.refused)
        require_complete(images, read_entry(paths.SOURCE), parameters.strict, dataset)
        report = image_report(images, gathered.others)
        keep(gathered, images.readable(), paths.SOURCE, raw)
        write_rows(new / paths.IMAGES.name, COLUMNS, (image.row() for image in images.readable()))
        statistics = (image.statistics_row() for image in images.readable())
        write_rows(new / paths.IMAGE_STATISTICS.name, STATISTICS_COLUMNS, statistics)
        write_json(new / paths.RAW_REPORT.name, report)
        replace_outputs(new, earlier)
    print(f"{report['images']} images in {len(report['classes'])} classes, {len(report['refused'])} refused")


if __name__ == "__main__":
    run_stage(main)
