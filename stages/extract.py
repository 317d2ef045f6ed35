"""Stage extract: the frozen backbone's features of every image, and of the views that the head learns from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

from graft.activations.engines import in_metrics
from graft.activations.inference import SplitRequests, frozen_activations, write_features
from graft.activations.requests import Request
from graft.activations.store import Store, default_folder
from graft.core import paths
from graft.core.files import read_json, remove, replacing, rows_of, write_json
from graft.core.quiet import importing
from graft.core.stage import run_stage
from graft.images.table import read_image_table
from graft.settings import params
from graft.settings.resolved import view_settings

# Images whose requests are in memory together.
IMAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class Blocks:
    """The requests of all images, some images at a time; those of a training image are followed by its views.

    Attributes
    ----------
    views : the numbers of the views of each training image.
    """

    views: Sequence[int]

    def __iter__(self) -> Iterator[list[Request]]:
        rows = iter(rows_of(paths.SPLIT))
        while some := list(islice(rows, IMAGES_AT_ONCE)):
            yield [
                Request(paths.RAW / row["path"], row["sha256"], view)
                for row in some
                for view in ((0, *self.views) if row["split"] == "train" else (0,))
            ]


def count_images() -> tuple[int, int]:
    """Return how many images there are, and how many of them are for training. The table is not kept in memory."""
    parts = read_image_table().parts
    return len(parts), int((parts == "train").sum())


def network(outputs: Sequence[str], precision: str) -> Callable[[Any], Any]:
    """Return what `feature_network` returns; only here does this stage import TensorFlow."""
    with importing():
        from graft.backbone.frozen import feature_network
    return feature_network(outputs, precision)


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
    with Store(default_folder()) as store:
        # The maps too, for fine_tune to find them in the store.
        activations = frozen_activations(parameters.extract, ("map", "features"), augment, store, network)
        computed = activations.fill_blocks(Blocks(numbers))
        # Both files are complete before either replaces an earlier one.
        with ExitStack() as both:
            write_features(activations, images, shape, both.enter_context(replacing(paths.FEATURES)), rows_per_file)
            if views:
                path = both.enter_context(replacing(paths.VIEW_FEATURES))
                write_features(activations, views, shape, path, rows_per_file)
    if not views:
        remove(paths.VIEW_FEATURES)
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
