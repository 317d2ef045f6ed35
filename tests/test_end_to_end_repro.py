"""`dvc repro` in a clone: what it runs, what it notices, and what can be done with its results."""

import functools
import hashlib
import http.server
import json
import shutil
import tarfile
import threading

import pytest
import yaml
from clones import STAGES, Clone, make_environment, ran

from graft.core.files import read_rows, write_rows


def packed(folder, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "photos")
    return archive


def test_a_second_repro_runs_nothing(finished):
    output = finished.dvc("repro")
    assert ran(output) == []
    assert output.count("didn't change, skipping") == len(STAGES)


def test_the_first_repro_writes_all_outputs_and_leaves_nothing_else_behind(finished):
    lock = yaml.safe_load((finished.path / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert list(lock) == STAGES
    declared = [output["path"] for stage in lock.values() for output in stage["outs"]]
    # What `make study` found is in git, and no stage's.
    strange = [path for path in finished.outputs() if not path.startswith((*declared, "metrics/studies/"))]
    assert strange == ["data/.gitignore", "models/.gitignore"]
    assert finished.git("status", "--porcelain") == ""


def test_no_output_holds_an_absolute_path(finished):
    files = [finished.path / path for path in finished.outputs()] + [finished.path / "dvc.lock"]
    here = str(finished.folder).encode()
    assert not [path for path in files if not path.is_symlink() and here in path.read_bytes()]


def test_make_repro_ends_with_how_often_it_is_right_where_the_page_is_and_what_to_type_next(clone):
    make_environment(clone)
    lines = clone.run("make", "repro").splitlines()
    assert [line.split(":")[0] for line in lines[-3:]] == ["right", "page", "next"]
    page = (clone.path / "report.html").read_text(encoding="utf-8")
    assert "data:image/webp" in page
    for title in ("Each class", "Learning curves", "Map of the images", "What the network sees"):
        assert f"{title}: left out" not in page
    # The page is in neither git nor DVC.
    assert clone.git("status", "--porcelain") == ""


def test_a_change_inside_a_local_folder_is_noticed(clone):
    before = clone.outputs()
    added, changed, removed = (clone.photos / "red" / name for name in ("new.jpg", "001.png", "003.png"))
    originals = {path: path.read_bytes() for path in (changed, removed)}

    shutil.copy(clone.photos / "red/000.jpg", added)
    shutil.copy(clone.photos / "red/005.png", changed)
    removed.unlink()
    assert ran(clone.dvc("repro", "split")) == ["resolve", "download", "split"]
    rows = (clone.path / "data/split.csv").read_text(encoding="utf-8")
    assert "red/003.png" not in rows
    assert (clone.path / "data/raw/red/new.jpg").exists()
    assert (clone.path / "data/raw/red/001.png").read_bytes() == changed.read_bytes()

    added.unlink()
    for path, content in originals.items():
        path.write_bytes(content)
    clone.dvc("repro", "split")
    assert "red/new.jpg" not in (clone.path / "data/split.csv").read_text(encoding="utf-8")
    assert clone.outputs() == before
    assert ran(clone.dvc("repro")) == []


# As that of a folder, in the test above.
@pytest.mark.slow
def test_a_change_inside_a_local_archive_is_noticed(clone):
    clone.set(dataset="../photos.tgz")
    packed(clone.photos, clone.folder / "photos.tgz")
    clone.dvc("repro", "split")
    assert ran(clone.dvc("repro", "split")) == []
    (clone.photos / "red/000.jpg").unlink()
    packed(clone.photos, clone.folder / "photos.tgz")
    assert ran(clone.dvc("repro", "split")) == ["resolve", "download", "split"]
    assert "red/000.jpg" not in (clone.path / "data/split.csv").read_text(encoding="utf-8")


@pytest.fixture
def served(tmp_path):
    """A folder, and its address on a local server."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# test_fetch.py and test_download.py have both without DVC.
@pytest.mark.slow
def test_an_archive_is_fetched_by_its_address_and_the_parts_it_brings_are_kept(clone, served, write_image_folder):
    folder, address = served
    write_image_folder(clone.folder / "parts/train", count=8)
    write_image_folder(clone.folder / "parts/test", count=3, first=8)
    archive = packed(clone.folder / "parts", folder / "parts.tgz")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    clone.set(dataset=f"{address}/parts.tgz", dataset_sha256=sha256)
    assert ran(clone.dvc("repro", "split")) == ["resolve", "download", "split"]
    archive.unlink()
    assert ran(clone.dvc("repro", "split")) == []
    rows = (clone.path / "data/split.csv").read_text(encoding="utf-8").splitlines()[1:]
    parts = [(row.split("/")[0], row.split(",")[2]) for row in rows]
    assert parts.count(("test", "test")) == 9
    assert {part for folder, part in parts if folder == "train"} == {"train", "validation"}


def test_new_images_are_classified_by_file_and_by_folder(finished, write_image_folder, tmp_path):
    folder = write_image_folder(tmp_path / "new", count=2, first=50)
    output = finished.run("python", "-m", "graft", "predict", "--json", folder, folder / "red/050.jpg")
    answers = [json.loads(line) for line in output.splitlines()]
    assert [answer["path"] for answer in answers] == [
        *(str(folder / label / name) for label in ("blue", "green", "red") for name in ("050.jpg", "051.png")),
        str(folder / "red/050.jpg"),
    ]
    assert answers[4] == answers[6]
    assert [answer["classes"][0]["label"] for answer in answers[:6]] == ["blue"] * 2 + ["green"] * 2 + ["red"] * 2


def test_the_gate_passes_and_fails_by_its_thresholds_and_by_a_drop(clone):
    gate = ("python", "-m", "graft", "gate")
    assert "FAIL" not in clone.run(*gate, "--against", "main")
    path = clone.path / "metrics/predictions.csv"
    rows = read_rows(path)
    write_rows(path, list(rows[0]), [row | {"predicted": "none of them"} for row in rows])
    clone.set(gate__max_drop=0.1)
    clone.run(*gate)
    result = clone.attempt(*gate, "--against", "main")
    assert result.returncode == 1
    assert "FAIL  accuracy" in result.stdout
    clone.set(gate__max_expected_calibration_error=0.0)
    assert clone.attempt(*gate).returncode == 1


@pytest.mark.slow
def test_the_default_run_needs_no_network_and_passes_the_gate(tmp_path):
    clone = Clone.of_working_files(tmp_path / "default")
    (clone.path / "dvc.lock").unlink(missing_ok=True)
    assert ran(clone.dvc("repro")) == STAGES
    assert "FAIL" not in clone.run("python", "-m", "graft", "gate")
    assert ran(clone.dvc("repro")) == []
