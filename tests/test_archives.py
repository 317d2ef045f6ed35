"""Archives: unpacked without ever writing outside their folder."""

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from graft.core.errors import GraftError
from graft.data import archives

FILES = {"photos/roses/1.jpg": b"first", "photos/tulips/2 ü.jpg": b"second" * 1000, "LICENSE.txt": b""}
TAR_BLOCK = 512
ROOMY = archives.Bounds(10**9, 10**6)


def as_tar(files, mode="w", links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in links:
            tar.addfile(member)
    return buffer.getvalue()


def as_zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for name, content in files.items():
            zip_file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


WRITERS = {"a.tar": as_tar, "a.tgz": lambda files: as_tar(files, "w:gz"), "a.zip": as_zip}


def tar_of(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            tar.addfile(member)
    return buffer.getvalue()


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.fixture
def unpack(tmp_path):
    """Return a function that unpacks an archive, and gives every file that is then in its folder or beside it.

    What `archives.unpack` returned is its attribute `left_out`.
    """

    def unpack_and_read(content, name="a.tar", bounds=ROOMY):
        (tmp_path / name).write_bytes(content)
        folder = tmp_path / "in" / "folder"
        unpack_and_read.left_out = archives.unpack(tmp_path / name, folder, bounds)
        paths = [path for path in (tmp_path / "in").rglob("*") if not path.is_dir()]
        return {Path(os.path.relpath(path, folder)).as_posix(): path.read_bytes() for path in paths}

    return unpack_and_read


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_archive_gives_its_files(unpack, name):
    assert unpack(WRITERS[name](FILES), name) == FILES


def test_the_content_decides_what_kind_of_archive_it_is_and_not_the_name(unpack):
    assert unpack(as_zip(FILES), "source") == FILES


def test_a_tar_that_ends_with_a_zip_is_still_a_tar(unpack):
    files = {"photos/1.jpg": b"first", "photos/more.zip": as_zip(FILES)}
    assert unpack(as_tar(files)) == files


def test_a_colon_in_a_name_is_no_drive(unpack):
    assert unpack(as_tar({"at 10:30/1.jpg": b"early"})) == {"at 10:30/1.jpg": b"early"}


@pytest.mark.parametrize("writer", [as_tar, as_zip])
@pytest.mark.parametrize(
    "name", ["../outside.jpg", "roses/../../outside.jpg", "/tmp/outside.jpg", "..\\outside.jpg", "C:\\outside.jpg", "."]
)
def test_a_path_outside_the_folder_is_refused_and_not_written(unpack, tmp_path, writer, name):
    with pytest.raises(GraftError, match=r"^a\.tar: refused, it holds '[^\n]+', a path outside its folder$"):
        unpack(writer({name: b"evil"}))
    assert not list(tmp_path.rglob("outside.jpg"))
    assert not Path("/tmp/outside.jpg").exists()


def test_what_stands_before_a_path_outside_does_not_hide_it(unpack):
    with pytest.raises(GraftError, match=r"it holds '\.\./x\.jpg'"):
        unpack(as_tar({"roses/1.jpg": b"good", "../x.jpg": b"evil"}))


SPECIAL = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "special file",
    tarfile.BLKTYPE: "special file",
    tarfile.FIFOTYPE: "special file",
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_links_out_of_a_tar_and_devices_are_left_out_and_counted(unpack, kind):
    assert unpack(tar_of(special("roses/1.jpg", kind, "/etc/passwd"))) == {}
    assert unpack.left_out == {SPECIAL[kind]: 1}


def test_folders_are_not_counted_as_left_out(unpack):
    assert unpack(tar_of(special("roses", tarfile.DIRTYPE), tarfile.TarInfo("roses/1.jpg"))) == {"roses/1.jpg": b""}
    assert unpack.left_out == {}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_hard_link_in_a_tar_has_the_content_of_the_file_that_it_names(unpack, tmp_path, mode):
    (tmp_path / "roses").mkdir()
    (tmp_path / "roses/1.jpg").write_bytes(b"first")
    os.link(tmp_path / "roses/1.jpg", tmp_path / "roses/2.jpg")
    os.link(tmp_path / "roses/1.jpg", tmp_path / "roses/3.jpg")
    with tarfile.open(tmp_path / "written.tar", mode) as tar:
        tar.add(tmp_path / "roses", "roses")
        assert [member.islnk() for member in tar.getmembers()].count(True) == 2
    assert unpack((tmp_path / "written.tar").read_bytes()) == {f"roses/{name}.jpg": b"first" for name in (1, 2, 3)}
    assert unpack.left_out == {}


def test_a_hard_link_to_a_hard_link_has_the_files_content(unpack):
    links = special("b/2.jpg", tarfile.LNKTYPE, "./a/1.jpg"), special("c/3.jpg", tarfile.LNKTYPE, "b/2.jpg")
    files = unpack(as_tar({"a/1.jpg": b"first"}, links=links))
    assert files == {"a/1.jpg": b"first", "b/2.jpg": b"first", "c/3.jpg": b"first"}


def test_a_file_that_was_packed_twice_keeps_its_content(unpack):
    again = special("1.jpg", tarfile.LNKTYPE, "1.jpg")
    assert unpack(as_tar({"1.jpg": b"first"}, links=[again])) == {"1.jpg": b"first"}


@pytest.mark.parametrize("target", ["missing.jpg", "link.jpg", "../outside.jpg", "roses", ""])
def test_a_hard_link_to_no_file_of_the_archive_is_left_out_and_counted(unpack, tmp_path, target):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/outside.jpg").write_bytes(b"secret")
    links = special("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), special("2.jpg", tarfile.LNKTYPE, target)
    files = unpack(as_tar({"roses/1.jpg": b"first"}, links=links))
    assert files.keys() == {"roses/1.jpg", "../outside.jpg"}
    assert unpack.left_out == {"symbolic link": 1, "hard link": 1}


def test_a_hard_link_whose_own_name_lies_outside_is_refused(unpack):
    with pytest.raises(GraftError, match=r"it holds '\.\./x\.jpg'"):
        unpack(as_tar({"1.jpg": b"first"}, links=[special("../x.jpg", tarfile.LNKTYPE, "1.jpg")]))


def test_nothing_is_written_through_a_link(unpack, tmp_path):
    (tmp_path / "outside").mkdir()
    content = tar_of(special("roses", tarfile.SYMTYPE, str(tmp_path / "outside")), tarfile.TarInfo("roses/1.jpg"))
    assert unpack(content) == {"roses/1.jpg": b""}
    assert not list((tmp_path / "outside").iterdir())


def symbolic(name, target):
    return special(name, tarfile.SYMTYPE, target)


def zip_of_links(files, links):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zip_file:
        for name, target in links:
            link = zipfile.ZipInfo(name)
            link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            zip_file.writestr(link, target)
        for name, content in files.items():
            zip_file.writestr(name, content)
    return buffer.getvalue()


def tar_of_links(files, links):
    members = tar_of(*(symbolic(*link) for link in links))[: TAR_BLOCK * len(links)]
    return members + as_tar(files)


@pytest.mark.parametrize("write", [tar_of_links, zip_of_links])
def test_a_symbolic_link_that_stays_inside_has_the_content_of_its_file_even_if_that_comes_later(unpack, write):
    links = [("b/2.jpg", "../a/1.jpg"), ("b/3.jpg", "2.jpg"), ("4.jpg", "./b/.././b/3.jpg")]
    assert unpack(write({"a/1.jpg": b"first"}, links)) == dict.fromkeys(
        ("a/1.jpg", "b/2.jpg", "b/3.jpg", "4.jpg"), b"first"
    )
    assert unpack.left_out == {}


@pytest.mark.parametrize("write", [tar_of_links, zip_of_links])
@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../../outside.jpg",
        "../../../in/outside.jpg",
        "missing.jpg",
        "link.jpg",
        "../roses",
        "",
        "1.jpg/x",
    ],
)
def test_a_symbolic_link_to_no_file_of_the_archive_is_left_out_and_counted(unpack, tmp_path, write, target):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/outside.jpg").write_bytes(b"secret")
    files = unpack(write({"roses/1.jpg": b"first"}, [("roses/link.jpg", target)]))
    assert files.keys() == {"roses/1.jpg", "../outside.jpg"}
    assert unpack.left_out == {"symbolic link": 1}


def test_links_that_lead_to_each_other_are_left_out(unpack):
    assert unpack(tar_of_links({"1.jpg": b""}, [("2.jpg", "3.jpg"), ("3.jpg", "2.jpg")])) == {"1.jpg": b""}
    assert unpack.left_out == {"symbolic link": 2}


def test_a_symbolic_link_whose_own_name_lies_outside_is_refused(unpack):
    with pytest.raises(GraftError, match=r"it holds '\.\./x\.jpg'"):
        unpack(tar_of_links({"1.jpg": b"first"}, [("../x.jpg", "in/folder/1.jpg")]))


@pytest.mark.parametrize("writer", [as_tar, as_zip])
def test_of_two_files_of_one_name_the_later_is_kept_and_the_other_counted(unpack, writer):
    # zipfile warns of it.
    warnings.filterwarnings("ignore", "Duplicate name")

    class Twice(dict):
        def items(self):
            return [("1.jpg", b"earlier"), ("1.jpg", b"later")]

    assert unpack(writer(Twice())) == {"1.jpg": b"later"}
    assert unpack.left_out == {"file replaced by a later one of its name": 1}


@pytest.mark.parametrize("name", ["./", "photos/", "photos/empty/"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_empty_folder_is_a_folder(unpack, tmp_path, name, kind):
    content = tar_of(special(name, tarfile.DIRTYPE)) if kind == "tar" else as_zip({name: b""})
    assert unpack(content) == {}
    assert (tmp_path / "in/folder" / name).is_dir()
    assert unpack.left_out == {}


def test_a_zip_with_backslashes_has_its_folders(unpack):
    assert unpack(as_zip({"photos\\": b"", "photos\\a\\": b"", "photos\\a\\1.jpg": b"first"})) == {
        "photos/a/1.jpg": b"first"
    }


@pytest.mark.parametrize("writer", [as_tar, as_zip])
@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "é" * 130, "/".join(["a" * 200] * 25), "a" * 300 + "/1.jpg"])
def test_a_name_or_path_that_is_too_long_is_one_line(unpack, writer, name):
    if writer is as_tar:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(tarfile.TarInfo(name))
        content = content.getvalue()
    else:
        content = writer({name: b""})
    with pytest.raises(
        GraftError, match=r"^a\.tar: it holds '[aé]+'\.\.\., a name of more than 255 bytes or a path of"
    ):
        unpack(content)


@pytest.mark.parametrize("writer", [as_tar, as_zip])
def test_names_that_differ_in_case_or_have_control_characters_are_files_of_their_own(unpack, writer):
    files = {"Cat/1.jpg": b"1", "cat/1.jpg": b"2", "cat/\x1b\n.jpg": b"3"}
    assert unpack(writer(files)) == files


@pytest.mark.parametrize("name", WRITERS)
def test_what_unpacks_to_more_bytes_than_allowed_is_refused_and_hardly_more_is_written(unpack, tmp_path, name):
    content = WRITERS[name]({f"{number}.jpg": bytes(1000) for number in range(10)})
    unpack(content, name, archives.Bounds(50_000 if name == "a.tar" else 20_000, 100))
    with pytest.raises(
        GraftError, match=rf"^{name}: it unpacks to more than 5\.0 KB; if that is right, raise limits\.unp"
    ):
        unpack(content, name, archives.Bounds(5000, 100))


def test_entries_of_a_zip_that_share_one_content_count_each(unpack, tmp_path):
    content = bytearray(as_zip({"1.jpg": bytes(1000)}))
    directory, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry, tail = content[directory:end], content[end:]
    tail[8:12] = (20).to_bytes(2, "little") * 2
    tail[12:16] = (20 * len(entry)).to_bytes(4, "little")
    with pytest.raises(GraftError, match=r"^a\.tar: (it unpacks to more than 10\.0 KB; |damaged)"):
        unpack(bytes(content[:directory] + entry * 20 + tail), bounds=archives.Bounds(10_000, 100))
    written = sum(path.stat().st_size for path in (tmp_path / "in").rglob("*") if path.is_file())
    assert written <= 10_000


@pytest.mark.parametrize("name", WRITERS)
def test_more_files_and_folders_than_allowed_are_refused(unpack, tmp_path, name):
    content = WRITERS[name]({f"{number}/1.jpg": b"" for number in range(10)})
    unpack(content, name, archives.Bounds(10**6, 20))
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(GraftError, match=rf"^{name}: it holds more than 19 files and folders; if that is right, raise"):
        unpack(content, name, archives.Bounds(10**6, 19))


def test_copies_of_links_count_as_files_and_bytes(unpack):
    content = tar_of_links({"1.jpg": bytes(1000)}, [(f"a{number}.jpg", "1.jpg") for number in range(9)])
    with pytest.raises(GraftError, match="unpacks to more than"):
        unpack(content, bounds=archives.Bounds(5000, 100))


def test_a_tgz_that_goes_on_after_its_end_is_bounded(unpack):
    content = gzip.compress(as_tar({"1.jpg": b"first"}) + bytes(10**7))
    with pytest.raises(GraftError, match="unpacks to more than"):
        unpack(content, "a.tgz", archives.Bounds(10**6, 100))


def test_a_header_of_many_bytes_is_not_read_into_memory(unpack):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(GraftError, match=r"^a\.tar: damaged, [^\n]*\(a name of 1\.1 GB\)"):
        unpack(as_tar({"1.jpg": b""})[:TAR_BLOCK] + header.tobuf() + bytes(10 * TAR_BLOCK))


def test_an_archive_in_an_archive_is_not_unpacked(unpack):
    inner = as_zip({"1.jpg": b"first"})
    assert unpack(as_zip({"inner.zip": inner})) == {"inner.zip": inner}


@pytest.mark.parametrize(
    ("mode", "kind"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "special file"), (stat.S_IFCHR, "special file")]
)
def test_links_and_devices_in_a_zip_are_left_out_and_counted(unpack, mode, kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zip_file:
        link = zipfile.ZipInfo("roses/1.jpg")
        link.create_system, link.external_attr = 3, (mode | 0o777) << 16
        zip_file.writestr(link, "/etc/passwd")
    assert unpack(buffer.getvalue()) == {}
    assert unpack.left_out == {kind: 1}


def test_a_zip_of_a_folder_with_its_modes_leaves_nothing_out(unpack, tmp_path):
    (tmp_path / "roses").mkdir()
    (tmp_path / "roses/1.jpg").write_bytes(b"first")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as zip_file:
        zip_file.write(tmp_path / "roses", "roses")
        zip_file.write(tmp_path / "roses/1.jpg", "roses/1.jpg")
    assert unpack((tmp_path / "b.zip").read_bytes()) == {"roses/1.jpg": b"first"}
    assert unpack.left_out == {}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_truncated_archive_is_one_line(unpack, name, share):
    content = WRITERS[name]({f"photos/{number}.jpg": bytes([number]) * 5000 for number in range(10)})
    # Beyond its files a .tar has nothing but zeros, up to a multiple of 20 blocks.
    end = len(content.rstrip(b"\0")) if name == "a.tar" else len(content)
    with pytest.raises(GraftError, match=rf"^{name}: damaged, or no .tar, .tgz or .zip \([^\n]*\); get it again$"):
        unpack(content[: int(share * end)], name)


@pytest.mark.parametrize("length", [2 * TAR_BLOCK, 2 * TAR_BLOCK + 100])
def test_a_tar_cut_off_between_two_files_is_not_taken_for_whole(unpack, length):
    content = as_tar({"1.jpg": b"first", "2.jpg": b"second"})
    with pytest.raises(GraftError, match="damaged"):
        unpack(content[:length])


def test_a_damaged_header_is_not_taken_for_the_end(unpack):
    content = bytearray(as_tar({"1.jpg": b"first", "2.jpg": b"second"}))
    content[2 * TAR_BLOCK] ^= 1
    with pytest.raises(GraftError, match="damaged"):
        unpack(bytes(content))


@pytest.mark.parametrize("name", ["a.tgz", "a.zip"])
def test_flipped_bits_are_found_by_the_archives_own_checksum(unpack, name):
    content = bytearray(WRITERS[name]({"1.jpg": bytes(range(256)) * 20}))
    content[120] ^= 0xFF
    with pytest.raises(GraftError, match="damaged"):
        unpack(bytes(content), name)


def test_a_wrong_checksum_at_the_end_of_a_tgz_is_damage(unpack):
    content = bytearray(gzip.compress(as_tar(FILES)))
    content[-8] ^= 0xFF
    with pytest.raises(GraftError, match="damaged"):
        unpack(bytes(content), "a.tgz")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_what_is_no_archive_is_one_line(unpack, content):
    with pytest.raises(GraftError, match=r"^a\.tgz: damaged, or no .tar, .tgz or .zip \([^\n]*\); get it again$"):
        unpack(content, "a.tgz")


def test_a_name_that_is_both_file_and_folder_is_one_line(unpack):
    with pytest.raises(GraftError, match=r"^a\.tar: damaged"):
        unpack(as_tar({"roses": b"", "roses/1.jpg": b""}))


def test_the_checksum_of_a_local_archive_is_compared(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"content")
    found = hashlib.sha256(b"content").hexdigest()
    archives.check_sha256(path, found)
    with pytest.raises(GraftError, match=rf"^a\.tar: its SHA-256 is {found}, but dataset_sha256 is {'0' * 64}$"):
        archives.check_sha256(path, "0" * 64)
