"""Stage download: the images in data/raw, a list of them, and what was refused; a failing run changes nothing."""

import hashlib
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import GraftError
from graft.core.files import read_rows
from graft.data import source
from graft.data.archives import Bounds
from graft.data.transfer import Limits
from stages import download, resolve

RAW, REPORT, LIST = Path("data/raw"), Path("data/raw.json"), Path("data/images.csv")
CLASSES = ("blue", "green", "red")


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_class_folders_is_copied(fetch, image_folder):
    report = fetch(image_folder)
    assert content(RAW) == content(image_folder)
    assert report == {
        "images": 36,
        "classes": dict.fromkeys(CLASSES, 12),
        "copies": 0,
        "refused": [],
        "other_files": {},
    }


def test_files_without_an_images_name_are_counted_by_suffix_and_printed(fetch, image_folder, capsys):
    for name in ("red/1.CR2", "red/2.cr2", "blue/notes", ".hidden", "licence.txt"):
        (image_folder / name).touch()
    assert fetch(image_folder)["other_files"] == {"": 1, ".cr2": 2}
    assert "left out: 1 without a suffix, 2 .cr2; known are .jpg, .jpeg, .png" in capsys.readouterr().out


def test_links_in_an_archive_are_their_files_and_those_that_lead_out_are_counted_and_printed(
    fetch, image_folder, tmp_path, capsys
):
    (image_folder / "red/link.jpg").symlink_to("000.jpg")
    (image_folder / "red/out.jpg").symlink_to("/etc/passwd")
    os.link(image_folder / "red/000.jpg", image_folder / "red/copy.jpg")
    (image_folder / "red/notes.txt").touch()
    _tar(image_folder, tmp_path / "a.tar")
    report = fetch(tmp_path / "a.tar")
    assert report["classes"] == {"blue": 12, "green": 12, "red": 14}
    assert report["other_files"] == {".txt": 1, "symbolic link": 1}
    assert "left out: 1 .txt, 1 symbolic link; known are" in capsys.readouterr().out


def test_an_archive_of_nothing_but_links_is_one_line_after_what_was_left_out(fetch, tmp_path, capsys):
    (tmp_path / "photos/a").mkdir(parents=True)
    (tmp_path / "photos/a/1.jpg").symlink_to("elsewhere.jpg")
    _tar(tmp_path / "photos", tmp_path / "a.tar")
    with pytest.raises(GraftError, match=r"a\.tar: 1 class folder found"):
        fetch(tmp_path / "a.tar")
    assert "left out: 1 symbolic link;" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_an_archive_has_the_same_faults_as_its_folder(fetch, image_folder, tmp_path, name):
    (image_folder / "yellow").mkdir()
    shutil.make_archive(str(tmp_path / "a"), name.removeprefix("a."), image_folder)
    messages = set()
    for dataset in (image_folder, tmp_path / name):
        with pytest.raises(GraftError) as raised:
            fetch(dataset)
        messages.add(str(raised.value).removeprefix(str(dataset)))
    (message,) = messages
    assert message.startswith(": no readable image in class folder 'yellow'; fill or remove it")


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_an_empty_archive_is_one_line(fetch, tmp_path, name):
    with tarfile.open(tmp_path / "a.tar", "w"), zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    with pytest.raises(GraftError, match=rf"{name}: 0 class folders found; it must hold two or more[^\n]*$"):
        fetch(tmp_path / name)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (
            {"limits__unpacked_size": "10KB"},
            "it unpacks to more than 10.0 KB; if .* limits.unpacked_size in params.yaml",
        ),
        ({"limits__files": 30}, "it holds more than 30 files and folders; if .* limits.files in params.yaml"),
    ],
)
def test_an_archive_beyond_the_limits_of_params_yaml_is_refused(fetch, image_folder, tmp_path, limit, message):
    _tar(image_folder, tmp_path / "a.tgz")
    with pytest.raises(GraftError, match=rf"^a\.tgz: {message}$"):
        fetch(tmp_path / "a.tgz", **limit)
    assert not RAW.exists()


def test_an_image_with_more_pixels_than_params_yaml_allows_is_refused_with_the_key(fetch, image_folder):
    Image.new("RGB", (200, 100)).save(image_folder / "red/large.png")
    (refused,) = fetch(image_folder, limits__pixels=19_999)["refused"]
    assert refused["path"] == "red/large.png"
    assert refused["reason"] == (
        "not a readable image (20,000 pixels, above the limit of 19,999: make it smaller, "
        "or raise limits.pixels in params.yaml; a classifier has it as max_pixels in the labels.json)"
    )
    assert fetch(image_folder, limits__pixels=20_000)["refused"] == []


def test_images_outside_the_class_folders_are_counted_and_printed(fetch, write_image_folder, tmp_path, capsys):
    write_image_folder(tmp_path / "photos/train", count=4)
    write_image_folder(tmp_path / "photos", {"test": (90, 90, 90)}, count=3, first=4)
    report = fetch(tmp_path / "photos")
    assert (report["images"], report["other_files"]) == (12, {"image outside the class folders": 3})
    assert "left out: 3 image outside the class folders\n" in capsys.readouterr().out


def test_classes_that_differ_in_case_alone_are_named(fetch, write_image_folder, tmp_path, capsys):
    write_image_folder(tmp_path / "letters", {"A": (200, 50, 40), "a": (40, 70, 200)})
    assert fetch(tmp_path / "letters")["classes"] == {"A": 12, "a": 12}
    assert "'A' and 'a' differ in case alone; they are taken for 2 classes\n" in capsys.readouterr().out


def test_classes_that_differ_in_what_nobody_sees_are_named(fetch, write_image_folder, tmp_path, capsys):
    write_image_folder(tmp_path / "pets", {"cat": (200, 50, 40), "cat ": (40, 70, 200), "cat\u200b": (40, 200, 70)})
    assert len(fetch(tmp_path / "pets")["classes"]) == 3
    line = r"'cat' and 'cat ' and 'cat\u200b' differ in spaces or invisible characters alone; they are taken for 3 cl"
    assert line in capsys.readouterr().out


def test_a_link_to_an_image_is_copied_as_the_image(fetch, image_folder, tmp_path):
    os.replace(image_folder / "red/000.jpg", tmp_path / "picture.jpg")
    (image_folder / "red/000.jpg").symlink_to(tmp_path / "picture.jpg")
    assert fetch(image_folder)["images"] == 36
    assert not (RAW / "red/000.jpg").is_symlink()
    assert content(RAW) == content(image_folder)


def test_a_link_to_a_folder_that_was_added_later_is_refused(fetch, image_folder, tmp_path):
    fetch(image_folder)
    (image_folder / "yellow").symlink_to(tmp_path)
    with pytest.raises(GraftError, match=r"photos: yellow is a link to a folder"):
        download.main()


def test_the_list_has_a_row_for_each_image_sorted_by_path(fetch, image_folder):
    fetch(image_folder)
    rows = read_rows(LIST)
    paths = [row["path"] for row in rows]
    assert paths == sorted(content(RAW))
    assert all(row["label"] == row["path"].split("/")[0] and row["split"] == "" for row in rows)
    assert all(row["sha256"] == hashlib.sha256((RAW / row["path"]).read_bytes()).hexdigest() for row in rows)


def test_the_same_data_give_the_same_bytes(fetch, image_folder):
    fetch(image_folder)
    first = content(Path("data"))
    fetch(image_folder)
    assert content(Path("data")) == first


def test_nothing_but_the_outputs_is_left(fetch, image_folder):
    fetch(image_folder)
    assert {path.name for path in Path("data").iterdir()} == {
        "source", "source.json", "weights", "weights.json", "environment.json",
        "raw", "raw.json", "images.csv", "image_statistics.csv",
    }  # fmt: skip


def test_an_image_that_is_gone_from_the_folder_is_gone_from_the_data(fetch, image_folder):
    fetch(image_folder)
    (image_folder / "red/000.jpg").unlink()
    assert fetch(image_folder)["images"] == 35
    assert content(RAW) == content(image_folder)


def _tar(folder, archive):
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
        tar.add(folder, "wrapper/photos")


def _zip(folder, archive):
    with zipfile.ZipFile(archive, "w") as zip_file:
        for name, data in content(folder).items():
            zip_file.writestr(f"photos/{name}", data)
        zip_file.writestr("__MACOSX/photos/._000.jpg", b"")


ARCHIVERS = {"a.tar": _tar, "a.tgz": _tar, "a.zip": _zip}


@pytest.mark.parametrize("name", ARCHIVERS)
def test_an_archive_gives_the_same_as_its_folder(fetch, image_folder, tmp_path, name):
    (image_folder / "LICENSE.txt").write_text("free")
    ARCHIVERS[name](image_folder, tmp_path / name)
    (image_folder / "LICENSE.txt").unlink()
    fetch(tmp_path / name)
    assert content(RAW) == content(image_folder)


def test_a_local_archive_with_a_wrong_checksum_is_refused(fetch, image_folder, tmp_path):
    _tar(image_folder, tmp_path / "a.tgz")
    with pytest.raises(GraftError, match=r"^a\.tgz: its SHA-256 is [0-9a-f]{64}, but dataset_sha256 is 0{64}$"):
        fetch(tmp_path / "a.tgz", dataset_sha256="0" * 64)


def test_an_address_is_fetched_into_the_repositorys_cache(fetch, image_folder, tmp_path, monkeypatch):
    archive = tmp_path / "a.tgz"
    _tar(image_folder, archive)
    asked = []

    def fetched(url, sha256, folder, limits):
        asked.append((url, sha256, folder, limits.size, limits.seconds))
        return archive

    monkeypatch.setattr(source, "fetch", fetched)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    fetch("https://example.org/a.tgz", dataset_sha256="A" * 64, limits__download_size="5MB")
    assert asked == [("https://example.org/a.tgz", "a" * 64, tmp_path / ".cache/downloads", 5_000_000, 86_400)]
    assert content(RAW) == content(image_folder)
    assert archive.exists()


def test_a_source_that_names_no_data_set_is_one_line(tmp_path):
    (tmp_path / "source").write_text("{}", encoding="utf-8")
    with pytest.raises(GraftError, match=r"source: it names no address and no data set; `dvc repro` writes"):
        source.image_folder(tmp_path / "source", None, tmp_path / "raw", Bounds(10, 10), Limits(10, 10))


def test_the_parts_of_the_data_set_are_listed(fetch, write_image_folder, tmp_path):
    write_image_folder(tmp_path / "photos/train", count=4)
    write_image_folder(tmp_path / "photos/test", count=2, first=4)
    fetch(tmp_path / "photos")
    parts = [(row["path"].split("/")[0], row["split"]) for row in read_rows(LIST)]
    assert parts == [("test", "test")] * 6 + [("train", "train")] * 12


@pytest.fixture
def flawed_folder(image_folder, encode, draw_picture):
    """The image folder with three unreadable images more."""
    (image_folder / "blue/empty.jpg").touch()
    (image_folder / "green/text.png").write_text("not a picture")
    (image_folder / "red/cut.PNG").write_bytes(encode(draw_picture((200, 50, 40), 999), ".png")[:-100])
    return image_folder


def test_unreadable_images_are_left_out_and_listed_with_the_reason(fetch, flawed_folder):
    report = fetch(flawed_folder)
    assert report["images"] == 36
    reasons = {refused["path"]: refused["reason"] for refused in report["refused"]}
    assert list(reasons) == ["blue/empty.jpg", "green/text.png", "red/cut.PNG"]
    formats = "JPEG, PNG, GIF, BMP, PPM, TIFF, WEBP, AVIF, HEIC"
    assert reasons["green/text.png"] == f"not a readable image (damaged, or none of {formats})"
    assert not {path for path in content(RAW) if path in reasons}


def test_strict_makes_an_unreadable_image_an_error(fetch, flawed_folder):
    message = r"^blue/empty\.jpg: not a readable image \(.*\); 3 of 39 images are refused, mend or remove them, or "
    with pytest.raises(GraftError, match=message):
        fetch(flawed_folder, strict=True)


def test_a_class_without_a_readable_image_is_an_error(fetch, image_folder):
    (image_folder / "yellow").mkdir()
    (image_folder / "yellow/1.jpg").touch()
    with pytest.raises(
        GraftError, match=r"photos: no readable image in class folder 'yellow'; fill or remove it \(known are"
    ):
        fetch(image_folder)


def test_fewer_than_two_classes_are_an_error(fetch, image_folder):
    shutil.rmtree(image_folder / "red")
    shutil.rmtree(image_folder / "blue")
    with pytest.raises(GraftError, match=r"photos: 1 class folder found; it must hold two or more"):
        fetch(image_folder)


def test_of_a_class_folder_the_one_above_is_asked_for(fetch, image_folder):
    with pytest.raises(
        GraftError, match=r"red: 0 class folders found; .*; it holds images itself: give the folder above$"
    ):
        fetch(image_folder / "red")


def test_copies_of_a_picture_are_counted(fetch, image_folder):
    shutil.copy(image_folder / "red/000.jpg", image_folder / "red/copy.jpg")
    assert fetch(image_folder)["copies"] == 1


def test_unusual_names_and_kinds_of_images_are_read(fetch, image_folder, encode, draw_picture):
    folder = image_folder / "雏菊 (daisy)"
    folder.mkdir()
    picture = draw_picture((90, 90, 90), 77)
    for mode, name in (("L", "grey, 1.PNG"), ("P", "palette é.png"), ("CMYK", "inks.JPEG"), ("RGBA", "glass.png")):
        (folder / name).write_bytes(encode(picture.convert(mode), Path(name).suffix.lower()))
    wide = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    (folder / "sixteen bits.tif").write_bytes(encode(Image.fromarray(wide), ".tif"))
    report = fetch(image_folder)
    assert report["classes"]["雏菊 (daisy)"] == 5
    assert report["refused"] == []
    # They all show the same picture, the grey ones as much as the others.
    assert len({row["group"] for row in read_rows(LIST) if row["label"] == "雏菊 (daisy)"}) <= 2


def test_a_name_that_is_not_utf_8_is_refused_and_can_be_listed(fetch, image_folder):
    path = os.fsdecode(os.fsencode(image_folder / "red") + b"/\xff.jpg")
    shutil.copy(image_folder / "red/000.jpg", path)
    assert fetch(image_folder)["refused"] == [{"path": "red/\\udcff.jpg", "reason": "its name is not UTF-8"}]


def _truncate_archive(folder):
    archive = folder.parent / "a.tgz"
    _tar(folder, archive)
    archive.write_bytes(archive.read_bytes()[:-500])
    return archive


def _leave_one_class(folder):
    shutil.rmtree(folder / "red")
    shutil.rmtree(folder / "blue")
    return folder


def _empty_a_class(folder):
    for path in (folder / "red").iterdir():
        path.write_bytes(b"")
    return folder


@pytest.mark.parametrize("damage", [_truncate_archive, _leave_one_class, _empty_a_class])
def test_a_failing_run_leaves_the_earlier_data_whole(fetch, project, image_folder, damage):
    fetch(image_folder)
    project.set(dataset=str(damage(image_folder)))
    resolve.main()
    before = content(Path("data"))
    with pytest.raises(GraftError):
        download.main()
    assert content(Path("data")) == before


@pytest.mark.parametrize("failing", ["raw", "raw.json", "images.csv"])
@pytest.mark.parametrize("direction", ["from", "to"])
def test_an_output_that_cannot_be_moved_leaves_the_earlier_data_whole(
    fetch, image_folder, monkeypatch, failing, direction
):
    fetch(image_folder)
    before = content(Path("data"))
    (image_folder / "red/000.jpg").unlink()
    replace = os.replace
    broken = Path("data", failing)

    def fail_once(source, target):
        if broken == Path(source if direction == "from" else target):
            monkeypatch.setattr(os, "replace", replace)
            raise PermissionError(f"{broken} is in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(PermissionError, match="is in use"):
        download.main()
    assert content(Path("data")) == before


def test_a_first_run_that_cannot_move_an_output_leaves_none(project, image_folder, monkeypatch):
    project.set(dataset=str(image_folder))
    resolve.main()
    replace = os.replace

    def fail(source, target):
        if Path(target) == LIST:
            raise PermissionError("in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError):
        download.main()
    assert {path.name for path in Path("data").iterdir()} == {
        "source", "source.json", "weights", "weights.json", "environment.json",
    }  # fmt: skip


def test_digits_are_written_as_ten_folders_of_grey_pictures(fetch):
    report = fetch("digits")
    assert report["images"] == 1797
    assert list(report["classes"]) == list("0123456789")
    first = Image.open(RAW / "0/0000.png")
    assert (first.mode, first.size) == ("L", (8, 8))
    # 5 of 16 grey levels, the third pixel of the first digit.
    assert first.getpixel((2, 0)) == round(5 * 255 / 16)


def test_a_fault_ends_the_stage_with_one_line_and_status_1(project, image_folder, run_python):
    project.set(dataset=str(_leave_one_class(image_folder)))
    resolve.main()
    result = run_python("-m", "stages.download", folder=project.folder)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
