"""The data sets of the catalog, each as a small archive of the same layout, fetched from a local web server."""

import hashlib
import io
import json
import tarfile
import threading
import typing
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from graft.core.errors import GraftError
from graft.core.files import read_rows
from graft.data import layouts
from graft.settings import datasets
from stages import download, resolve

SIDE = 32


class Site(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder whose files a local web server hands out, and its address."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch(site, project, monkeypatch):
    """Return a function that runs resolve and download on an entry of the catalog whose files the local server has.

    Its arguments: the entry's name, its files by name (the archive first), and what else differs from the true entry.
    """
    folder, address = site

    def fetched(name, files, /, dataset_sha256=None, **changes):
        for file, content in files.items():
            (folder / file).write_bytes(content)
        archive, *others = [
            {"url": f"{address}/{file}", "sha256": hashlib.sha256(content).hexdigest()}
            for file, content in files.items()
        ]
        true = datasets.entries()[name].model_dump(exclude_none=True)
        true.pop("images", None)
        kept = {"sha256"} & true.keys()
        entry = true | {"url": archive["url"]} | {key: archive[key] for key in kept} | changes
        if others:
            entry["files"] = others
        monkeypatch.setattr(datasets, "entries", lambda: {name: datasets.Entry.model_validate(entry)})
        project.set(dataset=name, dataset_sha256=dataset_sha256)
        resolve.main()
        download.main()
        return [(row["path"], row["label"], row["split"]) for row in read_rows("data/images.csv")]

    return fetched


def tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def records(labels, start):
    """Return CIFAR records of these label bytes; record n is all of red n, green n + 1, blue n + 2."""
    parts = []
    for number, label in enumerate(labels, start):
        planes = [np.full(SIDE * SIDE, number + channel, np.uint8).tobytes() for channel in range(3)]
        parts.append(bytes(label) + b"".join(planes))
    return b"".join(parts)


def matrix(**values):
    buffer = io.BytesIO()
    savemat(buffer, {name: np.array([value], np.uint16) for name, value in values.items()})
    return buffer.getvalue()


CIFAR_10 = {
    "cifar-10-batches-bin/batches.meta.txt": b"airplane\nbird\ncat\n\n",
    "cifar-10-batches-bin/data_batch_1.bin": records([[0], [2]], 10),
    "cifar-10-batches-bin/data_batch_2.bin": records([[1]], 20),
    "cifar-10-batches-bin/test_batch.bin": records([[2]], 30),
    "cifar-10-batches-bin/readme.html": b"<html>",
}
CIFAR_100 = {
    "cifar-100-binary/coarse_label_names.txt": b"fish\nflowers\n",
    "cifar-100-binary/fine_label_names.txt": b"aquarium_fish\nshark\norchids\n",
    "cifar-100-binary/train.bin": records([[0, 0], [0, 1], [1, 2]], 40),
    "cifar-100-binary/test.bin": records([[1, 2], [0, 0]], 50),
}


def test_cifar_10_becomes_pictures_in_the_folders_of_their_classes_and_parts(fetch):
    assert fetch("cifar10", {"cifar-10-binary.tar.gz": tar(CIFAR_10)}, classes=3) == [
        ("test/cat/test_batch_00000.png", "cat", "test"),
        ("train/airplane/data_batch_1_00000.png", "airplane", "train"),
        ("train/bird/data_batch_2_00000.png", "bird", "train"),
        ("train/cat/data_batch_1_00001.png", "cat", "train"),
    ]
    picture = np.asarray(Image.open("data/raw/train/cat/data_batch_1_00001.png"))
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture == [11, 12, 13]).all()


def test_pixels_keep_their_places(tmp_path):
    plane = np.arange(SIDE * SIDE) % 251
    source = tmp_path / "source"
    source.mkdir()
    (source / "batches.meta.txt").write_text("a\nb\n")
    (source / "data_batch_1.bin").write_bytes(
        b"\x01" + np.stack([plane, plane * 2, plane * 3]).astype(np.uint8).tobytes()
    )
    (source / "test_batch.bin").write_bytes(records([[0]], 0))
    layouts.arrange(datasets.Entry(layout="cifar10"), source, tmp_path / "target", {})
    picture = np.asarray(Image.open(tmp_path / "target/train/b/data_batch_1_00000.png"))
    # Row after row, each colour for itself.
    np.testing.assert_array_equal(picture[..., 0], plane.reshape(SIDE, SIDE))
    np.testing.assert_array_equal(picture[..., 2], (plane * 3).astype(np.uint8).reshape(SIDE, SIDE))


def test_cifar_100_has_its_fine_classes(fetch):
    assert fetch("cifar100", {"cifar-100-binary.tar.gz": tar(CIFAR_100)}, classes=3) == [
        ("test/aquarium_fish/test_00001.png", "aquarium_fish", "test"),
        ("test/orchids/test_00000.png", "orchids", "test"),
        ("train/aquarium_fish/train_00000.png", "aquarium_fish", "train"),
        ("train/orchids/train_00002.png", "orchids", "train"),
        ("train/shark/train_00001.png", "shark", "train"),
    ]


def jpegs(numbers, encode, draw_picture, digits):
    return {
        f"jpg/image_{number:0{digits}d}.jpg": encode(draw_picture((90, 90, 90), number), ".jpg") for number in numbers
    }


def test_oxfords_17_flowers_have_the_same_number_of_each_class_in_order(fetch, encode, draw_picture):
    files = jpegs(range(1, 35), encode, draw_picture, 4) | {"jpg/files.txt": b"image_0001.jpg\n"}
    rows = fetch("oxford_flowers17", {"17flowers.tgz": tar(files)})
    assert len(rows) == 34
    assert {row[0] for row in rows} >= {"daffodil/image_0001.jpg", "daffodil/image_0002.jpg", "pansy/image_0034.jpg"}
    assert {(label, split) for _, label, split in rows} == {
        (name, "") for name in datasets.entries()["oxford_flowers17"].names
    }


def test_oxfords_102_flowers_have_labels_and_parts_in_files_of_their_own(fetch, encode, draw_picture):
    files = {
        "102flowers.tgz": tar(jpegs(range(1, 7), encode, draw_picture, 5)),
        "imagelabels.mat": matrix(labels=[77, 1, 102, 1, 77, 102]),
        "setid.mat": matrix(trnid=[2, 1, 3], valid=[4], tstid=[6, 5]),
    }
    assert fetch("oxford_flowers102", files, classes=3) == [
        ("test/blackberry lily/image_00006.jpg", "blackberry lily", "test"),
        ("test/passion flower/image_00005.jpg", "passion flower", "test"),
        ("train/blackberry lily/image_00003.jpg", "blackberry lily", "train"),
        ("train/passion flower/image_00001.jpg", "passion flower", "train"),
        ("train/pink primrose/image_00002.jpg", "pink primrose", "train"),
        ("validation/pink primrose/image_00004.jpg", "pink primrose", "validation"),
    ]


@pytest.fixture
def animals(encode, draw_picture):
    return {
        f"coco-animals/{part}/{name}/{number}.jpg": encode(draw_picture((90, 90, 90), number), ".jpg")
        for part, numbers in (("train", range(4)), ("val", range(4, 6)))
        for name in ("bear", "zebra")
        for number in numbers
    }


def test_the_validation_images_of_the_animals_of_coco_are_the_test_part(fetch, animals):
    rows = fetch("coco_animals", {"coco-animals.zip": zipped(animals)}, classes=2)
    parts = [(path.split("/")[0], split) for path, _, split in rows]
    assert parts == [("test", "test")] * 4 + [("train", "train")] * 8


def test_without_a_published_checksum_the_files_own_is_printed(fetch, animals, capsys):
    content = zipped(animals)
    fetch("coco_animals", {"coco-animals.zip": content}, classes=2)
    digest = hashlib.sha256(content).hexdigest()
    assert f"no checksum is published; to accept this file only, dataset_sha256: {digest}\n" in capsys.readouterr().out


def test_where_none_is_published_only_a_file_with_the_users_checksum_is_accepted(fetch, animals):
    with pytest.raises(GraftError, match=r"/coco-animals\.zip: not the expected file: "):
        fetch("coco_animals", {"coco-animals.zip": zipped(animals)}, dataset_sha256="0" * 64, classes=2)


def test_a_published_checksum_comes_before_the_users(fetch):
    assert fetch("cifar10", {"cifar-10-binary.tar.gz": tar(CIFAR_10)}, dataset_sha256="0" * 64, classes=3)
    assert json.loads(Path("data/source").read_text())["sha256"] != "0" * 64


def test_what_stands_beside_an_archive_is_checked_too(fetch, site, encode, draw_picture):
    wrong = {"url": f"{site[1]}/setid.mat", "sha256": "0" * 64}
    (site[0] / "setid.mat").write_bytes(b"other")
    content = tar(jpegs(range(1, 3), encode, draw_picture, 5))
    with pytest.raises(GraftError, match=r"/setid\.mat: not the expected file: "):
        fetch("oxford_flowers102", {"102flowers.tgz": content}, files=[wrong])


def _without(files, name):
    return {path: content for path, content in files.items() if not path.endswith(name)}


@pytest.mark.parametrize(
    ("name", "files", "reason"),
    [
        ("cifar10", CIFAR_100, r"no batches\.meta\.txt in it"),
        ("cifar10", _without(CIFAR_10, "test_batch.bin"), r"no test_batch\.bin in it"),
        ("cifar10", CIFAR_10 | {"cifar-10-batches-bin/test_batch.bin": b"short"}, "cannot reshape"),
        ("cifar10", CIFAR_10 | {"cifar-10-batches-bin/test_batch.bin": records([[9]], 0)}, "index out of range"),
        ("oxford_flowers17", CIFAR_10, r"no image_\*\.jpg in it"),
        ("coco_animals", {"animals/train/bear/1.jpg": b"", "animals/dev/bear/1.jpg": b""}, "no val in it"),
    ],
)
def test_another_archive_than_the_layout_needs_is_one_line(fetch, name, files, reason):
    with pytest.raises(GraftError, match=rf"^http://[^\n]*: not laid out as \w+ says \([^\n]*{reason}[^\n]*\); is it"):
        fetch(name, {"archive.tgz": tar(files)})


def test_a_failing_fetch_leaves_the_earlier_data_whole(fetch):
    fetch("cifar10", {"archive.tgz": tar(CIFAR_10)}, classes=3)
    before = Path("data/images.csv").read_bytes()
    with pytest.raises(GraftError):
        fetch("cifar10", {"archive.tgz": tar(CIFAR_100)}, classes=3)
    assert Path("data/images.csv").read_bytes() == before
    assert Path("data/raw/train/cat/data_batch_1_00001.png").exists()
    assert not list(Path("data").glob(".part-*"))


def test_every_layout_that_an_entry_may_name_can_be_read():
    assert set(typing.get_args(datasets.Entry.model_fields["layout"].annotation)) == layouts.LAYOUTS.keys()
