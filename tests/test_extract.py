"""Stage extract: a row of features for every image, and for the views that the head learns from."""

import errno
import shutil

import numpy as np
import pytest

from graft.activations import split_requests
from graft.activations.inference import frozen_activations
from graft.activations.litert import Network
from graft.activations.split_requests import TableRequests
from graft.activations.store import Store
from graft.core import paths
from graft.core.array_file import ArrayFile
from graft.core.errors import GraftError
from graft.core.files import read_rows, sha256_of, write_json, write_rows
from graft.images import loader
from graft.images.table import COLUMNS, read_image_table
from graft.settings import params
from graft.settings.resolved import view_settings
from stages import extract, fine_tune


@pytest.fixture
def table(project, image_folder, compiled):
    """The image table of a project with a compiled backbone, its rows not in the order of the paths."""
    rows = []
    for place, path in enumerate(sorted(image_folder.rglob("*.*"), reverse=True)):
        part = ("test", "train", "validation", "train")[place % 4]
        name = path.relative_to(image_folder).as_posix()
        rows.append(dict(zip(COLUMNS, (name, path.parent.name, part, sha256_of(path), f"{place:06x}"), strict=True)))
    paths.BACKBONE.mkdir(parents=True)
    paths.RAW.symlink_to(image_folder)
    write_rows(paths.SPLIT, COLUMNS, rows)
    write_json(paths.CLASSES, sorted({row["label"] for row in rows}))
    shutil.copy(compiled.trunk, paths.TRUNK)
    shutil.copy(compiled.top, paths.TOP)
    write_json(paths.BACKBONE_DESCRIPTION, {"image_size": 16, "resize": "squash", "features": [4]})
    return read_image_table()


def current_view_settings():
    parameters = params.load()
    return view_settings(parameters.augment, parameters.dataset)


def test_each_row_of_the_split_has_its_row_of_features(table, project, run_python, compiled):
    project.set(head__views=1)
    result = run_python("-m", "stages.extract", folder=project.folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "features [4] of 36 images and 18 views, 54 computed now\n"
    network = Network(compiled.trunk, compiled.top)
    expected = [network(loader.load(path, 16, "squash"))[1] for path in table.files()]
    np.testing.assert_array_equal(np.load(paths.FEATURES), expected)
    assert run_python("-m", "stages.extract", folder=project.folder).stdout.endswith(" 0 computed now\n")


def test_without_views_nothing_but_the_images_is_written_whatever_the_augmentation(table, project):
    written = set()
    for rotation in (0, 90):
        project.set(augment__rotation=rotation)
        extract.main()
        written.add(paths.FEATURES.read_bytes())
        assert not paths.VIEW_FEATURES.exists()
    assert len(written) == 1
    assert np.load(paths.FEATURES).shape == (36, 4)


def test_the_views_of_the_training_images_are_rows_of_their_own(table, project, tmp_path):
    project.set(head__views=2)
    extract.main()
    train = table.part("train")
    wanted = [image._replace(view=view) for image in TableRequests(train) for view in (1, 2)]
    with Store(tmp_path / "another store") as store:
        outputs = ("map", "features")
        expected = frozen_activations(params.load().extract, outputs, current_view_settings(), store).read(
            "features", wanted
        )
    np.testing.assert_array_equal(np.load(paths.VIEW_FEATURES), expected)
    assert np.load(paths.FEATURES).shape == (36, 4)


def test_fine_tuning_finds_the_maps_of_the_same_images_and_views_in_the_store(table, project, monkeypatch, capsys):
    project.set(head__views=2, augment__views=2)
    extract.main()
    # Training itself needs no test here: it starts when all maps are in the store.
    monkeypatch.setattr(fine_tune, "fine_tune", lambda *arguments, **options: None)
    fine_tune.fine_tuned(None, table, params.load(), None)
    assert capsys.readouterr().out.splitlines()[-1] == "54 views of 18 images, 0 computed now"


def test_a_fault_between_the_two_files_keeps_both_of_before(table, project, monkeypatch):
    project.set(head__views=1)
    extract.main()
    before = paths.FEATURES.read_bytes(), paths.VIEW_FEATURES.read_bytes()
    write_rows(paths.SPLIT, COLUMNS, read_rows(paths.SPLIT)[:-1])
    write = extract.write_features

    def on_a_full_disk(activations, requests, shape, path, rows_per_file):
        if path.name.endswith(paths.VIEW_FEATURES.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(activations, requests, shape, path, rows_per_file)

    monkeypatch.setattr(extract, "write_features", on_a_full_disk)
    with pytest.raises(GraftError, match=r"views\.npy: the disk is full; free some space and run again$"):
        extract.main()
    assert (paths.FEATURES.read_bytes(), paths.VIEW_FEATURES.read_bytes()) == before
    names = {paths.FEATURES.name, paths.VIEW_FEATURES.name}
    assert {path.name for path in paths.FEATURES.parent.iterdir()} == names


def test_views_of_an_earlier_run_are_removed(table, project):
    project.set(head__views=1)
    extract.main()
    assert paths.VIEW_FEATURES.exists()
    project.set(head__views=0)
    extract.main()
    assert not paths.VIEW_FEATURES.exists()


def all_rows(path):
    file = ArrayFile(path)
    return file[np.arange(file.shape[0])]


def test_above_the_limit_features_are_in_numbered_files_with_the_same_rows(table, project, capsys):
    project.set(head__views=2)
    extract.main()
    expected = [np.load(path) for path in (paths.FEATURES, paths.VIEW_FEATURES)]
    project.set(head__views=2, limits__rows_in_memory=10)
    extract.main()
    assert capsys.readouterr().out.endswith(" 0 computed now, in files of 10 rows\n")
    for path, rows in zip((paths.FEATURES, paths.VIEW_FEATURES), expected, strict=True):
        names = [f"{number:05d}.npy" for number in range(4)]
        assert sorted(file.name for file in path.iterdir()) == [*names, "manifest.json"]
        np.testing.assert_array_equal(all_rows(path), rows)


def test_at_the_limit_features_are_in_one_file_again(table, project):
    for limit in (35, 36, 35):
        project.set(head__views=1, limits__rows_in_memory=limit)
        extract.main()
        assert {path.is_dir() for path in (paths.FEATURES, paths.VIEW_FEATURES)} == {limit == 35}
    project.set(head__views=0, limits__rows_in_memory=35)
    extract.main()
    assert [path.name for path in paths.FEATURES.parent.iterdir()] == [paths.FEATURES.name]


KILLED = """
import os, signal
from graft.activations import inference
from stages import extract

read, calls = inference.Activations.read, []

def killed(*arguments):
    calls.append(arguments)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments)

inference.Activations.read = killed
extract.main()
"""


def test_a_kill_between_two_files_leaves_the_earlier_ones_whole(table, project, run_python):
    project.set(limits__rows_in_memory=10)
    extract.main()
    before = {path.name: path.read_bytes() for path in paths.FEATURES.iterdir()}
    project.set(limits__rows_in_memory=5)
    assert run_python("-c", KILLED, folder=project.folder).returncode < 0
    assert {path.name: path.read_bytes() for path in paths.FEATURES.iterdir()} == before
    assert all_rows(paths.FEATURES).shape == (36, 4)
    run_python("-m", "stages.extract", folder=project.folder)
    assert [path.name for path in paths.FEATURES.parent.iterdir()] == [paths.FEATURES.name]
    assert len(list(paths.FEATURES.iterdir())) == 9


def test_images_that_are_looked_at_in_blocks_give_the_same_features(table, project, monkeypatch, tmp_path):
    project.set(head__views=2)
    extract.main()
    expected = paths.FEATURES.read_bytes(), paths.VIEW_FEATURES.read_bytes()
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "another store"))
    monkeypatch.setattr(split_requests, "IMAGES_AT_ONCE", 5)
    extract.main()
    assert (paths.FEATURES.read_bytes(), paths.VIEW_FEATURES.read_bytes()) == expected
