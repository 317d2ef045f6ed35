"""Stage extract: the frozen backbone's features of every image, and of the views that the head learns from."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from graft.activations.engines import in_metrics
from graft.activations.inference import frozen_activations, write_features
from graft.activations.maps import maps_for_training
from graft.activations.split_requests import SplitBlocks, SplitRequests, count_images
from graft.activations.store import Store, default_folder
from graft.core import paths
from graft.core.files import read_json, remove, replacing, write_bytes, write_json
from graft.core.quiet import importing
from graft.core.stage import run_stage
from graft.images.table import ImageTable, read_image_table
from graft.settings import params
from graft.settings.resolved import view_settings


def network(outputs: Sequence[str], precision: str) -> Callable[[Any], Any]:
    """Return what `feature_network` returns; only here and for int8 does this stage import TensorFlow."""
    with importing():
        from graft.backbone.frozen import feature_network
    return feature_network(outputs, precision)


def compile_in_int8(train: ImageTable) -> None:
    """Write the networks that `extract.precision: int8` computes with."""
    with importing():
        from graft.backbone.int8 import frozen_in_int8
    for path, content in zip((paths.TRUNK_INT8, paths.TOP_INT8), frozen_in_int8(train), strict=True):
        write_bytes(path, content)


def main() -> None:
    parameters = params.load()
    count, trained = count_images()
    most = parameters.limits.rows_in_memory
    rows_per_file = most if count > most else None
    numbers = range(1, parameters.head.views + 1)
    # Views 1 to `head.views` of each training image, one image after the other in the order of split.csv.
    images, views = SplitRequests(count), SplitRequests(trained, ("train",), numbers)
    shape = read_json(paths.BACKBONE_DESCRIPTION)["features"]
    augment = view_settings(parameters.augment, parameters.dataset)
    if parameters.extract.precision == "int8":
        compile_in_int8(read_image_table().part("train"))
    with Store(default_folder()) as store:
        outputs = ("map", "features")
        # The maps too, for fine_tune to find them in the store, but not where it computes them itself.
        maps = count + trained * max(parameters.head.views, parameters.augment.views)
        stored = outputs if maps_for_training(parameters.fine_tune.maps, maps).stored else ("features",)
        activations = frozen_activations(parameters.extract, outputs, augment, store, network, stored)
        computed = activations.fill_blocks(SplitBlocks(numbers))
        # Both files are complete before either replaces an earlier one.
        with ExitStack() as both:
            write_features(activations, images, shape, both.enter_context(replacing(paths.FEATURES)), rows_per_file)
            if views:
                path = both.enter_context(replacing(paths.VIEW_FEATURES))
                write_features(activations, views, shape, path, rows_per_file)
    if not views:
        remove(paths.VIEW_FEATURES)
    if parameters.extract.precision != "int8":
        for path in (paths.TRUNK_INT8, paths.TOP_INT8):
            path.unlink(missing_ok=True)
    engine = in_metrics(parameters.extract)
    if engine:
        write_json(paths.FEATURES_ENGINE, engine)
    else:
        paths.FEATURES_ENGINE.unlink(missing_ok=True)
    by = "".join(f" by {name}" for name in engine.values())
    of_views = f" and {len(views)} views" if views else ""
    files = f", in files of {rows_per_file} rows" if rows_per_file else ""
    print(f"features {shape} of {len(images)} images{of_views}, {computed} computed now{by}{files}")


if __name__ == "__main__":
    run_stage(main)
