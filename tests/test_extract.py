"""Stage extract: a row of features for every image, and for the views that the head learns from."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest

from graft.activations.inference import Activations, Pixels, Request
from graft.activations.litert import Network
from graft.activations.store import Store, default_folder
from graft.core.errors import GraftError
from graft.core.files import read_rows, sha256_of, write_json, write_rows
from graft.data.folders import COLUMNS
from graft.settings import datasets, params
from stages import extract

FEATURES, VIEWS = Path("data/features/features.npy"), Path("data/features/views.npy")


@pytest.fixture
def train(project, image_folder, compiled):
    """A project with a compiled backbone and a split of which these are the training images."""
    rows = []
    for place, path in enumerate(sorted(image_folder.rglob("*.*"))):
        part = ("test", "train", "validation", "train")[place % 4]
        name = path.relative_to(image_folder).as_posix()
        rows.append(dict(zip(COLUMNS, (name, path.parent.name, part, sha256_of(path), f"{place:06x}"), strict=True)))
    Path("data/backbone").mkdir(parents=True)
    Path("data/raw").symlink_to(image_folder)
    write_rows("data/split.csv", COLUMNS, rows)
    for name in ("trunk", "top"):
        shutil.copy(getattr(compiled, name), f"data/backbone/{name}.tflite")
    write_json("data/backbone/backbone.json", {"image_size": 16, "resize": "squash", "features": [4]})
    return [
        Request(Path("data/raw", row["path"]), row["sha256"])
        for row in read_rows("data/split.csv")
        if row["split"] == "train"
    ]


def activations(store, outputs, *networks):
    settings = params.load()
    augmentation = datasets.augmentation(settings.dataset, settings.augment.model_dump(exclude={"views"}))
    return Activations(Network(*networks), outputs, Pixels(16, "squash", augmentation), store)


def test_without_views_nothing_but_the_images_is_written_whatever_the_augmentation(train, project):
    written = set()
    for rotation in (0, 90):
        project.set(augment__rotation=rotation)
        extract.main()
        written.add(FEATURES.read_bytes())
        assert not VIEWS.exists()
    assert len(written) == 1
    assert np.load(FEATURES).shape == (36, 4)


def test_the_views_of_the_training_images_are_rows_of_their_own(train, project, compiled):
    project.set(head__views=2)
    extract.main()
    wanted = [image._replace(view=view) for image in train for view in (1, 2)]
    with Store(Path("another store")) as store:
        expected = activations(store, ("map", "features"), compiled.trunk, compiled.top).read("features", wanted)
    np.testing.assert_array_equal(np.load(VIEWS), expected)
    assert np.load(FEATURES).shape == (36, 4)


def test_fine_tuning_finds_the_maps_of_the_same_views_in_the_store(train, project, compiled):
    project.set(head__views=2)
    extract.main()
    wanted = [image._replace(view=view) for image in train for view in (0, 1, 2)]
    with Store(default_folder()) as store:
        assert activations(store, ("map",), compiled.trunk).fill(wanted) == 0


def test_what_stops_between_the_two_files_leaves_both_of_before(train, project, monkeypatch):
    project.set(head__views=1)
    extract.main()
    before = FEATURES.read_bytes(), VIEWS.read_bytes()
    write_rows("data/split.csv", COLUMNS, read_rows("data/split.csv")[:-1])
    write = extract.write_features

    def on_a_full_disk(activations, requests, shape, path):
        if path.name.endswith(VIEWS.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(activations, requests, shape, path)

    monkeypatch.setattr(extract, "write_features", on_a_full_disk)
    with pytest.raises(GraftError, match=r"views\.npy: the disk is full; free some space and run again$"):
        extract.main()
    assert (FEATURES.read_bytes(), VIEWS.read_bytes()) == before
    assert sorted(path.name for path in FEATURES.parent.iterdir()) == [FEATURES.name, VIEWS.name]


def test_views_of_an_earlier_run_are_taken_away(train, project):
    project.set(head__views=1)
    extract.main()
    assert VIEWS.exists()
    project.set(head__views=0)
    extract.main()
    assert not VIEWS.exists()
