"""Stage extract: the frozen backbone's features of every image, one row per row of data/split.csv."""

from pathlib import Path

import numpy as np

from stages.parts.engine import Activations, Pixels, Request
from stages.parts.errors import run
from stages.parts.files import read_json, read_rows, replacing
from stages.parts.network import Network
from stages.parts.store import Store, default_folder

SPLIT = Path("data/split.csv")
RAW = Path("data/raw")
BACKBONE = Path("data/backbone")
FEATURES = Path("data/features/features.npy")
ROWS_AT_ONCE = 256


def write_features(activations: Activations, requests: list[Request], shape: list[int], path: Path) -> None:
    """Write the features of all requests as one float32 array (requests, *shape), some rows at a time."""
    with replacing(path) as temporary:
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, (len(requests), *shape))
        for start in range(0, len(requests), ROWS_AT_ONCE):
            rows[start : start + ROWS_AT_ONCE] = activations.read("features", requests[start : start + ROWS_AT_ONCE])
        rows.flush()


def main() -> None:
    backbone = read_json(BACKBONE / "backbone.json")
    requests = [Request(RAW / row["path"], row["sha256"]) for row in read_rows(SPLIT)]
    network = Network(BACKBONE / "trunk.tflite", BACKBONE / "top.tflite")
    pixels = Pixels(backbone["image_size"], backbone["resize"])
    with Store(default_folder()) as store:
        activations = Activations(network, ("map", "features"), pixels, store)
        computed = activations.fill(requests)
        write_features(activations, requests, backbone["features"], FEATURES)
    print(f"features {backbone['features']} of {len(requests)} images, {computed} computed now")


if __name__ == "__main__":
    run(main)
