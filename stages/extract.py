"""Stage extract: the frozen backbone's features of every image, one row per row of data/split.csv, and of views."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from stages.parts import catalog, params
from stages.parts.engine import Activations, Pixels, Request
from stages.parts.errors import run
from stages.parts.files import read_json, read_rows, replacing
from stages.parts.network import Network
from stages.parts.store import Store, default_folder

SPLIT = Path("data/split.csv")
RAW = Path("data/raw")
BACKBONE = Path("data/backbone")
FEATURES = Path("data/features/features.npy")
# What `head.views` asks for: of each training image the views 1 to `head.views` in a row, the images as in split.csv.
VIEWS = Path("data/features/views.npy")
ROWS_AT_ONCE = 256


def write_features(activations: Activations, requests: list[Request], shape: list[int], path: Path) -> None:
    """Write the features of all requests as one float32 array (requests, *shape), some rows at a time."""
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (len(requests), *shape)}
    # Not through a memory map: where the disk is full, the system ends a process that writes to one.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(requests), ROWS_AT_ONCE):
            file.write(activations.read("features", requests[start : start + ROWS_AT_ONCE]).tobytes())


def main() -> None:
    parameters = params.load()
    backbone = read_json(BACKBONE / "backbone.json")
    rows = read_rows(SPLIT)
    images = [Request(RAW / row["path"], row["sha256"]) for row in rows]
    learnt = [image for image, row in zip(images, rows, strict=True) if row["split"] == "train"]
    wanted = [image._replace(view=view) for image in learnt for view in range(1, parameters.head.views + 1)]
    network = Network(BACKBONE / "trunk.tflite", BACKBONE / "top.tflite")
    augmentation = catalog.augmentation(parameters.dataset, parameters.augment.model_dump(exclude={"views"}))
    pixels = Pixels(backbone["image_size"], backbone["resize"], augmentation)
    with Store(default_folder()) as store:
        # The maps too, which fine_tune then finds in the store.
        activations = Activations(network, ("map", "features"), pixels, store)
        computed = activations.fill(images + wanted)
        # Both files are written before either takes an earlier one's place.
        with ExitStack() as both:
            write_features(activations, images, backbone["features"], both.enter_context(replacing(FEATURES)))
            if wanted:
                write_features(activations, wanted, backbone["features"], both.enter_context(replacing(VIEWS)))
    if not wanted:
        VIEWS.unlink(missing_ok=True)
    of_views = f" and {len(wanted)} views" if wanted else ""
    print(f"features {backbone['features']} of {len(images)} images{of_views}, {computed} computed now")


if __name__ == "__main__":
    run(main)
