"""Stage inspect: suspect labels of all parts, copies, odd images and outliers, in tables, numbers and words."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.core import paths
from graft.core.files import read_json, read_rows
from graft.data.relabelled import Correction, write_corrections
from stages import download, inspect, resolve, split

WRONG = "green/wrong.jpg"


@pytest.fixture
def photos(image_folder, draw_picture, encode):
    """36 images of three colours, and: a red one among the green ones, a black one, a broken one, copies."""
    (image_folder / WRONG).write_bytes(encode(draw_picture((200, 50, 40), 900), ".jpg"))
    (image_folder / "blue/black.png").write_bytes(encode(Image.new("RGB", (24, 24)), ".png"))
    (image_folder / "blue/broken.jpg").write_bytes(b"no image")
    shutil.copy(image_folder / "red/000.jpg", image_folder / "red/copy.jpg")
    shutil.copy(image_folder / "red/002.jpg", image_folder / "green/copy.jpg")
    return image_folder


@pytest.fixture
def inspected(project, photos):
    """Return a function that runs the stages up to inspect; the features of an image are its mean colour."""

    def run():
        project.set(dataset=str(photos))
        for stage in (resolve, download, split):
            stage.main()
        colours = [np.asarray(Image.open(paths.RAW / row["path"])).mean(axis=(0, 1)) for row in read_rows(paths.SPLIT)]
        paths.FEATURES.parent.mkdir(exist_ok=True)
        np.save(paths.FEATURES, np.array(colours, np.float32))
        inspect.main()

    return run


def findings(kind):
    return [(row["path"], row["other"]) for row in read_rows(paths.FINDINGS) if row["finding"] == kind]


def test_a_wrong_label_is_the_first_suspect_with_the_likelier_class(inspected):
    inspected()
    first = read_rows(paths.SUSPECTS)[0]
    assert list(first) == [
        "path", "label", "likelier", "p_label", "p_likelier", "score", "part", "sha256", "corrected",
    ]  # fmt: skip
    assert (first["path"], first["label"], first["likelier"], first["corrected"]) == (WRONG, "green", "red", "")
    assert float(first["p_label"]) < 0.2
    assert float(first["p_likelier"]) > 0.5
    assert float(first["score"]) == pytest.approx(1 - float(first["p_label"]), abs=2e-6)
    row = next(row for row in read_rows(paths.SPLIT) if row["path"] == WRONG)
    assert (first["part"], first["sha256"]) == (row["split"], row["sha256"])


def test_the_findings_name_copies_odd_images_and_refused_files(inspected):
    inspected()
    exact = {frozenset(pair) for pair in findings("exact_copy")}
    assert exact == {frozenset(("red/000.jpg", "red/copy.jpg")), frozenset(("red/002.jpg", "green/copy.jpg"))}
    assert len(findings("copy_with_other_label")) == 1
    assert findings("dark") == [("blue/black.png", "")]
    assert findings("refused") == [("blue/broken.jpg", "")]


def test_the_metrics_are_numbers_in_one_level_that_count_what_the_tables_list(inspected):
    inspected()
    metrics = read_json(paths.DATA_METRICS)
    inner = [value for group in metrics.values() if isinstance(group, dict) for value in group.values()]
    assert {type(value) for value in metrics.values()} == {int, float, dict}
    assert {type(value) for value in inner} == {int, float}
    assert metrics["suspects"] == len(read_rows(paths.SUSPECTS))
    assert sum(metrics["findings"].values()) == len(read_rows(paths.FINDINGS))
    assert (metrics["images"], metrics["classes"], metrics["judged"]) == (40, 3, 40)
    assert metrics["train"] + metrics["validation"] + metrics["test"] == 40
    assert metrics["formats"] == {"JPEG": 21, "PNG": 19}
    assert metrics["width"] == {"least": 24, "median": 24, "most": 24}


def test_it_ends_with_three_lines_in_words(inspected, capsys):
    inspected()
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].startswith(f"suspect labels: {len(read_rows(paths.SUSPECTS))} of 40, ")
    assert lines[1].startswith("copies: 2 exact, 0 near; 1 under another label than their picture, ")
    assert lines[2].startswith("odd images: 1 dark, ")


def test_a_corrected_label_is_no_suspect_and_an_image_that_is_left_out_is_no_finding(inspected, photos):
    inspected()
    hashes = {row["path"]: row["sha256"] for row in read_rows(paths.IMAGES)}
    write_corrections(
        paths.RELABELLED,
        {hashes[WRONG]: Correction(WRONG, "red"), hashes["blue/black.png"]: Correction("blue/black.png", "-")},
    )
    inspected()
    assert WRONG not in {row["path"] for row in read_rows(paths.SUSPECTS)}
    assert findings("dark") == []
    assert read_json(paths.DATA_METRICS)["images"] == 39


def test_the_same_data_give_the_same_bytes(inspected):
    outputs = (paths.DATA_METRICS, paths.SUSPECTS, paths.FINDINGS, paths.SUSPECTS_FIGURE)
    inspected()
    before = [path.read_bytes() for path in outputs]
    inspected()
    assert [path.read_bytes() for path in outputs] == before


def test_copies_across_the_data_sets_own_parts_are_a_warning_and_findings(
    project, write_image_folder, tmp_path, capsys
):
    folder = tmp_path / "photos"
    write_image_folder(folder / "train")
    write_image_folder(folder / "test", first=50)
    for name in ("red/000.jpg", "blue/002.jpg"):
        shutil.copy(folder / "train" / name, folder / "test" / name)
    project.set(dataset=str(folder))
    for stage in (resolve, download, split):
        stage.main()
    assert "split: 2 of 38 test images have a copy in the training or validation part" in capsys.readouterr().err
    np.save(_made(paths.FEATURES), np.random.default_rng(0).normal(size=(74, 4)).astype(np.float32))
    inspect.main()
    assert "2 in another part" in capsys.readouterr().out
    assert {path for path, _ in findings("copy_in_other_part")} == {"test/red/000.jpg", "test/blue/002.jpg"}


def test_a_data_set_in_which_nothing_can_be_judged_has_no_suspects(project, tmp_path, draw_picture, encode):
    folder = tmp_path / "photos"
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True)
    picture = {"a": encode(draw_picture((200, 50, 40), 1), ".png"), "b": encode(draw_picture((40, 50, 200), 2), ".png")}
    for path in folder.glob("*/*"):
        (path / "1.png").write_bytes(picture[path.name])
    project.set(dataset=str(folder))
    for stage in (resolve, download, split):
        stage.main()
    np.save(_made(paths.FEATURES), np.zeros((6, 4), np.float32))
    inspect.main()
    assert paths.SUSPECTS.read_text().count("\n") == 1
    assert json.loads(paths.DATA_METRICS.read_text())["judged"] == 0


def _made(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path
