"""Data sets as tar shards: `download` lists and checks their images, and each is read from its place in the shard."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shard_files import image_paths, pack_folders, samples, write_shard

from graft.core.errors import GraftError
from graft.core.files import read_rows
from graft.data import shard_samples
from graft.data.shard_members import files_in
from graft.data.shard_samples import Samples, read_shard
from graft.images import loader, shards
from graft.images.decoder import UnreadableImageError
from stages import download

RAW, REPORT, LIST = Path("data/raw"), Path("data/raw.json"), Path("data/images.csv")
CLASSES = {"blue": 12, "green": 12, "red": 12}


@pytest.fixture
def sample_files(image_folder):
    """The files of 36 samples, KEY.jpg or KEY.png with KEY.cls."""
    return samples(image_folder)


def refused(report):
    return {entry["path"]: entry["reason"] for entry in report["refused"]}


def sha256_by_label(rows):
    return sorted((row["label"], row["sha256"], row["group"], row["split"]) for row in rows)


# What a data set of shards is


def test_a_folder_of_shards_has_the_images_of_a_folder_of_class_folders(fetch, image_folder, tmp_path):
    report = fetch(image_folder)
    rows, statistics = read_rows(LIST), read_rows("data/image_statistics.csv")
    pack_folders(image_folder, tmp_path / "shards")
    assert fetch(tmp_path / "shards") == report
    assert [row["path"].partition("/")[2] for row in read_rows(LIST)] == [row["path"] for row in rows]
    for before, after in ((rows, read_rows(LIST)), (statistics, read_rows("data/image_statistics.csv"))):
        for row in before + after:
            del row["path"]
        assert before == after


@pytest.mark.parametrize("label", ["cls", "json"])
def test_samples_have_their_label_in_a_file_with_the_same_key(fetch, image_folder, tmp_path, label):
    fetch(image_folder)
    before = sha256_by_label(read_rows(LIST))
    write_shard(tmp_path / "shards/a-0.tar", samples(image_folder, label))
    report = fetch(tmp_path / "shards/a-{0..0}.tar")
    assert (report["classes"], report["refused"], report["other_files"]) == (CLASSES, [], {})
    assert sha256_by_label(read_rows(LIST)) == before
    assert read_rows(LIST)[0]["path"] == "a-0.tar/000000.jpg"


@pytest.mark.parametrize("label", ["cls", "json"])
def test_an_index_is_the_name_of_its_class_unless_a_list_beside_the_shards_names_it(
    fetch, image_folder, tmp_path, label, capsys
):
    numbers = {"blue": 0, "green": 1, "red": 2}
    write_shard(tmp_path / "shards/a-0.tar", samples(image_folder, label, numbers))
    assert fetch(tmp_path / "shards")["classes"] == {"0": 12, "1": 12, "2": 12}
    for name in ("classes.txt", "_classes.txt"):
        (tmp_path / "shards" / name).write_text("blue\ngreen\nred\nyellow\n\n")
        assert fetch(tmp_path / "shards")["classes"] == CLASSES
        assert f"{name}: 1 of its 4 classes have no image" in capsys.readouterr().out
        (tmp_path / "shards" / name).unlink()


def test_the_label_file_may_come_before_its_image_and_far_from_it(fetch, sample_files, tmp_path):
    write_shard(tmp_path / "shards/a.tar", sorted(sample_files, key=lambda file: (not file[0].endswith("cls"), file)))
    assert fetch(tmp_path / "shards")["classes"] == CLASSES


def test_the_key_ends_before_the_first_dot_as_in_webdataset(fetch, sample_files, tmp_path):
    masks = [(f"{name[:6]}.mask.png", content) for name, content in sample_files if name.endswith("png")]
    write_shard(tmp_path / "shards/a.tar", sample_files + masks)
    report = fetch(tmp_path / "shards")
    assert (report["images"], report["refused"], report["other_files"]) == (36, [], {".png": 18})


def test_in_class_folders_a_name_may_have_more_dots(fetch, image_folder, tmp_path):
    files = [(f"./all/{path.parent.name}/a.{path.name}", path.read_bytes()) for path in image_paths(image_folder)]
    write_shard(tmp_path / "shards/a.tar", files)
    assert fetch(tmp_path / "shards")["classes"] == CLASSES
    assert read_rows(LIST)[0]["path"] == "a.tar/all/blue/a.000.jpg"


def test_a_class_for_each_shard_is_no_wrapper_around_the_classes(fetch, image_folder, tmp_path):
    for name in CLASSES:
        files = [(f"{name}/deep/{path.name}", path.read_bytes()) for path in image_paths(image_folder / name)]
        write_shard(tmp_path / f"shards/{name}.tar", files)
    assert fetch(tmp_path / "shards")["classes"] == CLASSES


def test_the_shards_names_are_the_parts(fetch, image_folder, write_image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards", 2, "set1k-train")
    pack_folders(write_image_folder(tmp_path / "more", count=2, first=50), tmp_path / "shards", 1, "set1k-val")
    fetch(tmp_path / "shards")
    parts = [row["split"] for row in read_rows(LIST)]
    assert (parts.count("train"), parts.count("validation")) == (36, 6)
    fetch(tmp_path / "shards/set1k-{train-{000000..000001},val-000000}.tar")
    assert [row["split"] for row in read_rows(LIST)] == parts


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train-0", "extra-0"), r"train-0\.tar is of a part by its name, but extra-0\.tar does not go with it"),
        (
            ("freight_train-0", "blood_test-0"),
            r"blood_test-0\.tar is of .* but freight_train-0\.tar does not go with it",
        ),
        (("val-0", "test-0"), r"by their names its shards are test, validation; the training part is missing"),
    ],
)
def test_names_that_may_be_parts_or_not_are_one_line(fetch, image_folder, tmp_path, names, message):
    for name in names:
        shutil.copy(pack_folders(image_folder, tmp_path / "once", 1)[0], tmp_path / "once" / f"{name}.tar")
    (tmp_path / "once/photos-000000.tar").unlink()
    with pytest.raises(GraftError, match=rf"once: {message}[^\n]*$"):
        fetch(tmp_path / "once")


def test_parts_inside_of_shards_are_one_line(fetch, image_folder, tmp_path):
    files = [
        (f"{part}/{path.relative_to(image_folder)}", path.read_bytes())
        for part in ("train", "test")
        for path in image_paths(image_folder)
    ]
    write_shard(tmp_path / "shards/a.tar", files)
    with pytest.raises(GraftError, match=r"its shards hold folders test, train, which are parts by their names; pack"):
        fetch(tmp_path / "shards")


def test_a_class_without_a_training_image_is_one_line(fetch, image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards", 1, "test")
    shutil.rmtree(image_folder / "red")
    pack_folders(image_folder, tmp_path / "shards", 1, "train")
    with pytest.raises(GraftError, match=r"class 'red' has images in test-000000\.tar/, but none in the training part"):
        fetch(tmp_path / "shards")


def test_a_single_archive_is_unpacked_as_before(fetch, image_folder, tmp_path):
    (archive,) = pack_folders(image_folder, tmp_path / "one", 1)
    fetch(archive)
    assert (RAW / "blue/000.jpg").is_file()


def test_other_files_beside_class_folders_do_not_make_a_data_set_of_shards(fetch, image_folder):
    write_shard(image_folder / "old.tar", [])
    assert fetch(image_folder)["classes"] == CLASSES
    assert (RAW / "blue/000.jpg").is_file()


def test_a_compressed_shard_beside_others_is_one_line(fetch, image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards")
    (tmp_path / "shards/b.tar.gz").touch()
    with pytest.raises(GraftError, match=r"shards: b\.tar\.gz is compressed, so no image can be read alone; unpack it"):
        fetch(tmp_path / "shards")


def test_the_link_to_the_shards_of_a_relative_pattern_is_relative(fetch, image_folder, tmp_path, capsys):
    pack_folders(image_folder, tmp_path / "shards")
    fetch("../shards/photos-{000000..000001}.tar")
    assert os.readlink("data/source") == "../../shards"
    assert "`graft import ../shards` brings it into the repository" in capsys.readouterr().out
    assert sorted(path.name for path in RAW.iterdir()) == [f"photos-{number:06d}.tar.csv" for number in range(2)]


def test_a_folder_of_images_or_of_shards_may_have_braces_in_its_name(fetch, image_folder, tmp_path):
    image_folder.rename(tmp_path / "a{1,2}")
    assert fetch("../a{1,2}")["classes"] == CLASSES
    assert (RAW / "red/000.jpg").is_file()
    assert os.readlink("data/source") == "../../a{1,2}"
    pack_folders(tmp_path / "a{1,2}", tmp_path / "b{1,2}")
    assert fetch("../b{1,2}")["classes"] == CLASSES


# What is kept, and how an image is read


def test_data_raw_has_an_index_for_each_shard_and_no_image(fetch, image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards")
    fetch(tmp_path / "shards")
    assert sorted(path.name for path in RAW.rglob("*")) == [f"photos-{number:06d}.tar.csv" for number in range(3)]
    for row in read_rows(LIST):
        name = row["path"].partition("/")[2]
        assert loader.content(RAW / row["path"]) == (image_folder / name).read_bytes()
        assert loader.content_size(RAW / row["path"]) == (image_folder / name).stat().st_size


def test_the_index_has_the_hash_of_each_image_and_no_place_of_this_machine(fetch, image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards", 1)
    fetch(tmp_path / "shards")
    (index,) = RAW.iterdir()
    assert [row["sha256"] for row in read_rows(index)] == [row["sha256"] for row in read_rows(LIST)]
    assert str(tmp_path) not in index.read_text()


@pytest.mark.parametrize("change", ["other bytes", "cut off", "gone"])
def test_an_altered_shard_is_named_with_what_to_do(fetch, image_folder, tmp_path, change):
    pack_folders(image_folder, tmp_path / "shards", 1)
    fetch(tmp_path / "shards")
    shard, path = tmp_path / "shards/photos-000000.tar", RAW / read_rows(LIST)[-1]["path"]
    content = bytearray(shard.read_bytes())
    content[shards.read_index(RAW, shard.name)["red/011.png"].offset + 30] ^= 1
    shard.unlink()
    if change != "gone":
        shard.write_bytes(content if change == "other bytes" else content[: len(content) // 2])
    with pytest.raises(UnreadableImageError, match=r"^data/source/photos-000000\.tar: .*`dvc repro`[^\n]*$"):
        loader.load(path, 16, "crop")


def test_an_image_that_no_index_has_is_one_line(fetch, image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards", 1)
    fetch(tmp_path / "shards")
    with pytest.raises(UnreadableImageError, match=r"^data/raw/photos-000000\.tar\.csv: it has no red/x\.jpg; run"):
        loader.content(RAW / "photos-000000.tar/red/x.jpg")
    assert loader.content_size(RAW / "photos-000000.tar/red/x.jpg") == 0


def test_a_broken_index_is_one_line(fetch, image_folder, tmp_path):
    pack_folders(image_folder, tmp_path / "shards", 1)
    fetch(tmp_path / "shards")
    (RAW / "photos-000000.tar.csv").write_text("name,size\nred/000.jpg,x\n")
    with pytest.raises(UnreadableImageError, match=r"photos-000000\.tar\.csv: broken, or not the index"):
        loader.content(RAW / "photos-000000.tar/red/000.jpg")


def test_an_image_in_a_class_folder_with_a_shards_name_is_a_file(fetch, image_folder):
    (image_folder / "red").rename(image_folder / "red.tar")
    fetch(image_folder)
    assert loader.content(RAW / "red.tar/000.jpg") == (image_folder / "red.tar/000.jpg").read_bytes()


def test_a_shard_that_changes_while_it_is_read_is_one_line(fetch, image_folder, tmp_path, monkeypatch):
    shard = pack_folders(image_folder, tmp_path / "shards", 1)[0]
    check_images = download.check_images

    def changing(*arguments):
        os.utime(shard, (0, 0))
        return check_images(*arguments)

    monkeypatch.setattr(download, "check_images", changing)
    with pytest.raises(GraftError, match=r"photos-000000\.tar: changed while it was read; run again"):
        fetch(tmp_path / "shards")
    assert not RAW.exists()


# What is refused or left out


def test_images_of_a_shard_are_checked_as_those_of_a_folder(fetch, image_folder, tmp_path, encode, draw_picture):
    (image_folder / "red/000.jpg").write_bytes(b"no image")
    shutil.copy(image_folder / "red/002.jpg", image_folder / "red/copy.jpg")
    large = encode(draw_picture((200, 50, 40), 7, 9000), ".png")
    (image_folder / "red/large.png").write_bytes(large)
    report = fetch(image_folder)
    pack_folders(image_folder, tmp_path / "shards", 1)
    in_shards = fetch(tmp_path / "shards")
    for entry in in_shards["refused"]:
        entry["path"] = entry["path"].removeprefix("photos-000000.tar/")
    assert in_shards == report
    assert (len(report["refused"]), report["copies"]) == (2, 1)


def test_samples_without_a_usable_label_or_image_are_listed(fetch, sample_files, tmp_path):
    picture = sample_files[0][1]
    odd = [
        ("no_label.jpg", picture),
        ("only.cls", b"red"),
        ("two.jpg", picture),
        ("two.png", picture),
        ("two.cls", b"red"),
        ("empty.jpg", picture),
        ("empty.cls", b" \n"),
        ("latin.jpg", picture),
        ("latin.cls", "blä".encode("latin-1")),
        ("minus.jpg", picture),
        ("minus.cls", b"-1"),
        ("text.jpg", picture),
        ("text.json", b"{"),
        ("many.jpg", picture),
        ("many.json", b'{"label": [1, 2]}'),
        ("other.jpg", picture),
        ("other.json", b'{"caption": "red"}'),
        ("long.jpg", picture),
        ("long.cls", b"x" * 201),
        ("huge.jpg", picture),
        ("huge.cls", b" " * 1_000_001),
        ("control.jpg", picture),
        ("control.cls", b"a\x07b"),
    ]
    write_shard(tmp_path / "shards/a.tar", sample_files + odd)
    reasons = refused(fetch(tmp_path / "shards"))
    assert reasons == {
        f"a.tar/{name}": reason
        for name, reason in {
            "no_label.jpg": shard_samples.NO_LABEL,
            "only.cls": "its sample has no image",
            "two.png": "a second image of its sample",
            "empty.jpg": "its class is empty",
            "latin.jpg": "its .cls is not in UTF-8",
            "minus.jpg": "its class index is -1",
            "text.jpg": "its .json is no JSON",
            "many.jpg": "the label in its .json is no text and no whole number",
            "other.jpg": shard_samples.NO_LABEL,
            "long.jpg": "its class has more than 200 characters",
            "huge.jpg": "its .cls has 1.0 MB, too much for a label",
            "control.jpg": "its class has a control character",
        }.items()
    }
    with pytest.raises(GraftError, match=r"12 of 49 images are refused, mend or remove them, or set strict: false"):
        fetch(tmp_path / "shards", strict=True)


def test_a_label_beyond_the_list_of_classes_is_listed(fetch, sample_files, tmp_path):
    picture = sample_files[0][1]
    odd = [("n.jpg", picture), ("n.cls", b"3"), ("t.jpg", picture), ("t.cls", b"yellow")]
    write_shard(tmp_path / "shards/a.tar", sample_files + odd)
    (tmp_path / "shards/classes.txt").write_text("blue\ngreen\nred\n")
    assert refused(fetch(tmp_path / "shards")) == {
        "a.tar/n.jpg": "its class index is 3, but the list has 3 classes, from index 0",
        "a.tar/t.jpg": "its class 'yellow' is not in the list of classes",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"crane\nblue\ncrane\n", r"classes\.txt: lines 1 and 3 are both 'crane'; give each class a name of its own"),
        (b"blue\n\nred\n", r"classes\.txt: line 2: its class is empty; write a class on each line"),
        (b"bl\xe4\n", r"classes\.txt: not in UTF-8 \(.*\); save it so, a class on each line"),
    ],
)
def test_an_odd_list_of_classes_is_one_line(fetch, sample_files, tmp_path, content, message):
    write_shard(tmp_path / "shards/a.tar", sample_files)
    (tmp_path / "shards/classes.txt").write_bytes(content)
    with pytest.raises(GraftError, match=rf"^{message}$"):
        fetch(tmp_path / "shards")


def test_links_special_and_sparse_files_and_replaced_ones_are_counted_and_printed(
    fetch, sample_files, tmp_path, capsys
):
    shard = write_shard(tmp_path / "shards/a.tar", [("000000.jpg", b"replaced"), *sample_files])
    with tarfile.open(shard, "a") as tar:
        for name, kind in (("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE), ("p.jpg", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "../../etc/passwd"
            tar.addfile(member)
        sparse = tarfile.TarInfo("s.jpg")
        sparse.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "1000", "GNU.sparse.numblocks": "1"}
        tar.format = tarfile.PAX_FORMAT
        tar.addfile(sparse)
        for name in (".hidden.jpg", "__MACOSX/a.jpg", "._000000.jpg"):
            tar.addfile(tarfile.TarInfo(name))
    write_shard(tmp_path / "shards/b.tar", [("notes.txt", b"")])
    report = fetch(tmp_path / "shards")
    assert (report["classes"], report["refused"]) == (CLASSES, [])
    assert report["other_files"] == {
        ".txt": 1,
        "file replaced by a later one of its name": 1,
        "hard link": 1,
        "shard without a usable image": 1,
        "sparse file": 1,
        "special file": 1,
        "symbolic link": 1,
    }
    assert "left out: 1 .txt, 1 file replaced by a later one of its name, 1 hard link" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "red/../../a.jpg", "..\\a.jpg", "C:/a.jpg"])
def test_a_path_outside_of_the_shard_is_refused(fetch, sample_files, tmp_path, name):
    write_shard(tmp_path / "shards/a.tar", [*sample_files, (name, sample_files[0][1])])
    with pytest.raises(GraftError, match=r"^a\.tar: refused, it holds '.*', a path outside its folder$"):
        fetch(tmp_path / "shards")


def test_a_name_that_no_table_can_hold_is_listed(fetch, sample_files, tmp_path):
    picture = sample_files[0][1]
    odd = [("a\nb.jpg", picture), ("a\nb.cls", b"red"), ("\udcff.jpg", picture), ("\udcff.cls", b"red")]
    write_shard(tmp_path / "shards/a.tar", sample_files + odd)
    reasons = refused(fetch(tmp_path / "shards"))
    assert sorted(reasons.values()) == ["its name has a control character", "its name is not UTF-8"]


@pytest.mark.parametrize("blocks", range(6))
def test_a_cut_shard_is_one_line_wherever_it_ends(tmp_path, blocks):
    shard = write_shard(tmp_path / "a.tar", [("a.jpg", bytes(600)), ("a.cls", b"1")])
    cut = shard.read_bytes()[: blocks * 512]
    for content in (cut, cut + bytes([97]) * 200):
        shard.write_bytes(content)
        with pytest.raises(GraftError, match=r"^a\.tar: damaged, cut off, or compressed \([^\n]*get it again$"):
            files_in(shard, Samples().left_out)


def test_a_shard_that_goes_on_behind_its_end_is_one_line(fetch, sample_files, tmp_path):
    shard = write_shard(tmp_path / "shards/a.tar", sample_files)
    shard.write_bytes(shard.read_bytes() * 2)
    with pytest.raises(
        GraftError, match=r"^a\.tar: .*more follows behind its end at byte .*; join tar files by tar -A"
    ):
        fetch(tmp_path / "shards")


def test_a_compressed_shard_with_the_name_of_a_plain_one_is_one_line(fetch, image_folder, tmp_path):
    shard = pack_folders(image_folder, tmp_path / "shards", 1)[0]
    with tarfile.open(shard, "w:gz") as tar:
        tar.add(image_folder, "photos")
    with pytest.raises(GraftError, match=r"^photos-000000\.tar: damaged, cut off, or compressed"):
        fetch(tmp_path / "shards")


def test_an_image_of_gigabytes_by_its_header_is_refused_unread(fetch, sample_files, tmp_path):
    shard = write_shard(tmp_path / "shards/a.tar", sample_files)
    member = tarfile.TarInfo("z.jpg")
    member.size = 1_500_000_000
    content = shard.read_bytes().rstrip(b"\0")
    content += bytes(-len(content) % 512)
    label = tarfile.TarInfo("z.cls")
    label.size = 3
    with shard.open("wb") as file:
        file.write(content + member.tobuf())
        # A hole: it takes no space.
        file.seek(member.size + -member.size % 512, os.SEEK_CUR)
        file.write(label.tobuf() + b"red".ljust(512, b"\0") + bytes(1024))
    assert refused(fetch(tmp_path / "shards")) == {"a.tar/z.jpg": "it has 1.5 GB, more than any image that is decoded"}


def test_a_negative_size_is_one_line_and_no_endless_loop(tmp_path):
    member = tarfile.TarInfo("a.jpg")
    member.size = -1024
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(
        GraftError, match=r"^a\.tar: damaged, cut off, or compressed \(the size of 'a\.jpg' is negative"
    ):
        files_in(tmp_path / "a.tar", Samples().left_out)


def test_shards_beyond_the_limit_of_files_are_one_line(fetch, sample_files, tmp_path):
    write_shard(tmp_path / "shards/a.tar", sample_files)
    with pytest.raises(
        GraftError, match=r"shards: its shards hold more than 71 files; if that is right, raise limits\.f"
    ):
        fetch(tmp_path / "shards", limits__files=71)
    assert fetch(tmp_path / "shards", limits__files=72)["images"] == 36


@pytest.mark.parametrize("files", [[], [("a.txt", b"")], [("a.npy", b""), ("a.cls", b"1")]])
def test_shards_without_two_classes_are_one_line(fetch, tmp_path, files):
    write_shard(tmp_path / "shards/a.tar", files)
    with pytest.raises(GraftError, match=r"shards: its shards hold 0 images of 0 classes; two or more are needed, as"):
        fetch(tmp_path / "shards")


def test_two_lists_of_classes_are_one_line(fetch, sample_files, tmp_path):
    write_shard(tmp_path / "shards/a.tar", sample_files)
    for name in ("classes.txt", "_classes.txt"):
        (tmp_path / "shards" / name).write_text("blue\ngreen\nred\n")
    with pytest.raises(GraftError, match=r"shards: it has _classes\.txt and classes\.txt; keep one of them"):
        fetch(tmp_path / "shards")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_shard_gives_its_files_or_one_line(tmp_path, data):
    files = [("a/1.jpg", bytes(range(256)) * 3), ("a/1.cls", b"3"), ("é" * 60 + ".png", b"x" * 5), ("b.json", b"{}")]
    content = bytearray(write_shard(tmp_path / "a.tar", files).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    shard = tmp_path / "a.tar"
    shard.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    message = ""
    try:
        read_shard(Samples(), shard, "", None, tmp_path)
    except GraftError as error:
        message = str(error)
    assert "\n" not in message
