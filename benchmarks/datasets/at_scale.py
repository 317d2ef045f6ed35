"""Synthetic inputs of single stages for any number of images: `python -m benchmarks.datasets.at_scale KIND --images N`.

It writes into the current folder, which has a params.yaml, what the stages before would have written: a table of
images, features, records in the store, tiny picture files, a classifier. Features are a point for each class, with
noise. What is there already is left as it is.
"""

import argparse
import csv
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from graft.activations.engines import NETWORKS
from graft.activations.inference import Activations
from graft.activations.requests import Pixels, Request, Row
from graft.activations.store import Store, default_folder
from graft.core import paths
from graft.core.array_file import write_array
from graft.core.files import read_json, replacing, rows_of, sha256_of, write_bytes, write_json, write_rows
from graft.core.versions import record_versions
from graft.images.table import COLUMNS, read_image_table
from graft.settings import params

CLASSES = 10
FEATURES = 64
SIDE = 16
# Requests, or rows of features, at once.
BLOCK = 2048
# Pictures in a tar shard.
SHARD = 1000


def image_row(number: int) -> dict[str, str]:
    """Return the row of data/images.csv of an image."""
    label = f"class_{number % CLASSES}"
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    values = (f"{label}/{number:08d}.jpg", label, "", sha256, sha256[:16])
    return dict(zip(COLUMNS, values, strict=True))


def table(images: int) -> None:
    """Write data/images.csv."""
    if not paths.IMAGES.exists():
        # In the order of the paths, as `download` writes it.
        order = (number for label in range(CLASSES) for number in range(label, images, CLASSES))
        write_rows(paths.IMAGES, COLUMNS, map(image_row, order))


def picture(number: int) -> bytes:
    """Return a tiny JPEG file: noise, another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def pictures(images: int, folder: Path = Path("pictures"), numbers: Iterable[int] | None = None) -> None:
    """Write a folder of class folders of tiny JPEG files; those that are there stay."""
    for label in range(CLASSES):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
    for number in range(images) if numbers is None else numbers:
        path = folder / image_row(number)["path"]
        if not path.exists():
            path.write_bytes(picture(number))


def shards(images: int, folder: Path = Path("pictures")) -> None:
    """Write the same pictures as tar shards, each of `SHARD` pictures in class folders; those that are there stay."""
    folder.mkdir(exist_ok=True)
    for first in range(0, images, SHARD):
        path = folder / f"{first // SHARD:06d}.tar"
        if path.exists():
            continue
        with replacing(path) as temporary, tarfile.open(temporary, "w") as shard:
            for number in range(first, min(first + SHARD, images)):
                content = picture(number)
                member = tarfile.TarInfo(image_row(number)["path"])
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def rows_of_features(labels: np.ndarray, start: int) -> np.ndarray:
    """Return features of images, float32 (images, FEATURES)."""
    centres = np.random.default_rng(0).normal(0, 1, (CLASSES, FEATURES))
    noise = np.random.default_rng(start + 1).normal(0, 3, (len(labels), FEATURES))
    return (centres[labels] + noise).astype(np.float32)


def features(images: int) -> None:
    """Write data/features, as `extract` does without views."""
    if paths.FEATURES.exists():
        return
    labels, most = read_image_table().labels, params.load().limits.rows_in_memory

    def read(rows: range) -> Iterator[np.ndarray]:
        for start in range(rows.start, rows.stop, BLOCK):
            yield rows_of_features(labels[start : min(start + BLOCK, rows.stop)], start)

    with replacing(paths.FEATURES) as path:
        write_array(path, read, (len(labels), FEATURES), most if len(labels) > most else None)


class Synthetic:
    """An engine that looks at no image."""

    def __init__(self, name: str, sha256: Sequence[str]) -> None:
        self.engine, self.sha256 = name, sha256

    def rows(self, outputs: Sequence[str], pixels: Pixels, requests: Iterable[Request]) -> Iterator[Row]:
        """Yield each request with its outcome; there are no maps."""
        for request in requests:
            random = np.random.default_rng(int(request.sha256[:8], 16))
            yield request, {outputs[-1]: random.normal(0, 1, FEATURES).astype(np.float32)}


def network(kind: str) -> bytes:
    """Return a compiled network of images of `SIDE` pixels: trunk, top or classifier."""
    import keras

    from graft.backbone.compile import compile_network

    keras.utils.set_random_seed(0)
    image, feature_map = keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE // 2, SIDE // 2, FEATURES))
    convolution = keras.layers.Conv2D(FEATURES, 3, strides=2, padding="same", activation="relu")
    pooled = keras.layers.GlobalAveragePooling2D()
    if kind == "top":
        return compile_network(keras.Model(feature_map, pooled(feature_map)))
    found = convolution(image)
    if kind == "classifier":
        found = keras.layers.Dense(CLASSES, activation="softmax")(pooled(found))
    return compile_network(keras.Model(image, found), lambda images: images / 255)


def store(images: int) -> None:
    """Write data/backbone, and the features of all images to the store."""
    if not paths.BACKBONE_DESCRIPTION.exists():
        write_bytes(paths.TRUNK, network("trunk"))
        write_bytes(paths.TOP, network("top"))
        write_json(paths.BACKBONE_DESCRIPTION, {"image_size": SIDE, "resize": "squash", "features": [FEATURES]})
    from graft.activations.litert import Network

    outputs = ("map", "features")
    engine = Synthetic(Network.engine, [sha256_of(NETWORKS[output]) for output in outputs])
    size, resize = (read_json(paths.BACKBONE_DESCRIPTION)[name] for name in ("image_size", "resize"))
    with Store(default_folder()) as opened:
        activations = Activations(engine, outputs, Pixels(size, resize, {}), opened)
        activations.fill_blocks(Requests())


class Requests:
    """The requests of all images of data/split.csv, some at a time."""

    def __iter__(self) -> Iterator[list[Request]]:
        block: list[Request] = []
        for row in rows_of(paths.SPLIT):
            block.append(Request(Path(row["path"]), row["sha256"]))
            if len(block) == BLOCK:
                yield block
                block = []
        yield block


def classifier(images: int) -> None:
    """Write what `evaluate` reads: a classifier, its description, some metrics, and the files of the test images."""
    if not paths.LABELS.exists():
        write_bytes(paths.CLASSIFIER, network("classifier"))
        labels = [f"class_{label}" for label in range(CLASSES)]
        write_json(paths.LABELS, {"labels": labels, "image_size": SIDE, "resize": "squash", "crops": 1})
        write_json(paths.HEAD_METRICS, {"head_validation": {"accuracy": 0.5, "loss": 1.0}})
        columns = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
        with replacing(paths.HISTORY) as path, path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(columns)
    tested = (int(Path(row["path"]).stem) for row in rows_of(paths.SPLIT) if row["split"] == "test")
    pictures(images, paths.RAW, tested)


def statistics(images: int) -> None:
    """Write what `inspect` reads besides the table and the features."""
    if paths.RAW_REPORT.exists():
        return
    columns = ("path", "width", "height", "format", "bytes", "brightness", "sharpness", "entropy")

    def each() -> Iterator[dict[str, object]]:
        for number, row in enumerate(rows_of(paths.IMAGES)):
            brightness = 0.4 + (number % 97) / 500
            values = (row["path"], 300 + number % 50, 200, "JPEG", 9000, brightness, 500 + number % 83, 7.1)
            yield dict(zip(columns, values, strict=True))

    write_rows(paths.IMAGE_STATISTICS, columns, each())
    write_json(paths.RAW_REPORT, {"refused": []})


def raw(images: int) -> None:
    """Write the files of all images."""
    pictures(images, paths.RAW)


KINDS = {
    "table": table,
    "pictures": pictures,
    "shards": shards,
    "features": features,
    "store": store,
    "classifier": classifier,
    "raw": raw,
    "statistics": statistics,
}


def main() -> None:
    """Write the inputs of one kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--images", type=int, required=True, help="how many")
    options = parser.parse_args()
    record_versions()
    KINDS[options.kind](options.images)


if __name__ == "__main__":
    main()
