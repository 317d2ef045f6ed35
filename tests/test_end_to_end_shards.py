"""`dvc repro` on tar shards: the results of the same images in folders, and few files for DVC to look at."""

import json
import shutil
import sys

import pytest
from clones import STAGES, ran
from shard_files import pack_folders

from graft.core.files import read_json, read_rows

# Of these, each byte is the same; the others name the paths of images, or the data set.
SAME = ("data/features/features.npy", "data/classes.json", "data/raw.json", "models/head.npz", "models/labels.json")


@pytest.fixture(scope="module")
def in_shards(finished, tmp_path_factory):
    """A copy of `finished` whose images are in three shards, after `dvc repro`."""
    clone = finished.copied(tmp_path_factory.mktemp("in_shards"))
    pack_folders(clone.photos, clone.folder / "shards")
    shutil.rmtree(clone.photos)
    clone.set(dataset="../shards/photos-{000000..000002}.tar")
    clone.dvc("repro")
    clone.commit("Shards")
    return clone


@pytest.fixture
def clone(in_shards, tmp_path):
    """A copy of it, to change."""
    shutil.copytree(in_shards.folder, tmp_path / "copy", symlinks=True)
    return type(in_shards)(tmp_path / "copy")


def split(clone):
    return [
        row | {"path": row["path"].partition("tar/")[2] or row["path"]}
        for row in read_rows(clone.path / "data/split.csv")
    ]


def test_split_features_and_metrics_are_those_of_the_same_images_in_folders(finished, in_shards):
    assert split(in_shards) == split(finished)
    before, after = finished.outputs(), in_shards.outputs()
    assert {name: after[name] for name in SAME} == {name: before[name] for name in SAME}
    figures = [name for name in before if name.startswith("metrics/") and name.endswith(".json")]
    assert len(figures) >= 8
    assert {name: after[name] for name in figures} == {name: before[name] for name in figures}


def test_a_second_repro_runs_nothing_and_data_raw_has_a_file_for_each_shard(in_shards):
    output = in_shards.dvc("repro")
    assert (ran(output), output.count("didn't change, skipping")) == ([], len(STAGES))
    assert sorted(path.name for path in (in_shards.path / "data/raw").rglob("*")) == [
        f"photos-{number:06d}.tar.csv" for number in range(3)
    ]
    hashed = json.loads(
        in_shards.run(
            sys.executable,
            "-c",
            "import json; from dvc.repo import Repo; "
            "stage = Repo('.').stage.load_one('dvc.yaml', 'download'); "
            "print(json.dumps({out.def_path: out.meta and out.meta.nfiles for out in [*stage.deps, *stage.outs]}))",
        )
    )
    assert (hashed["data/source"], hashed["data/raw"]) == (3, 3)


@pytest.mark.slow
def test_an_altered_shard_is_read_again_and_named_where_download_did_not_run(clone):
    shard = clone.folder / "shards/photos-000002.tar"
    content = bytearray(shard.read_bytes())
    row = read_rows(clone.path / "data/raw/photos-000002.tar.csv")[-1]
    end = int(row["offset"]) + int(row["size"])
    # The last bytes of a PNG are a checksum, which Pillow does not need.
    content[end - 1] ^= 1
    shard.write_bytes(content)
    shutil.rmtree(clone.path / ".cache", ignore_errors=True)
    failed = clone.attempt("python", "-m", "stages.extract", GRAFT_STORE=str(clone.folder / "empty"))
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("error: "))
    assert "photos-000002.tar: red/" in line
    assert line.count("`dvc repro`") >= 1
    assert ran(clone.dvc("repro", "extract"))[:3] == ["resolve", "download", "split"]


def test_predict_and_report_show_images_of_shards_by_the_paths_of_the_tables(clone):
    rows = [row["path"] for row in read_rows(clone.path / "data/split.csv") if row["split"] == "test"]
    paths = [f"data/raw/{path}" for path in rows]
    clone.run("python", "-m", "graft", "predict", "--sort", "sorted", *paths)
    copies = [path for path in (clone.path / "sorted").rglob("*.*") if path.is_file()]
    assert len(copies) == len(paths)
    clone.run("python", "-m", "graft", "report")
    page = (clone.path / "report.html").read_text(encoding="utf-8")
    assert "data:image/webp" in page
    assert "The pictures are left out" not in page


@pytest.mark.slow
def test_import_takes_a_folder_of_shards(clone):
    printed = clone.run("python", "-m", "graft", "import", clone.folder / "shards")
    clone.run("bash", "-e", "-c", printed.splitlines()[-1].removeprefix("next: "))
    assert (clone.path / "photos/shards/photos-000000.tar").is_file()
    assert read_json(clone.path / "data/raw.json")["images"] == 60
    failed = clone.attempt("python", "-m", "graft", "import", "../shards/photos-{000000..000002}.tar")
    assert (
        "error: ../shards/photos-{000000..000002}.tar: a pattern; give the folder of the shards, ../shards"
        in failed.stderr
    )
