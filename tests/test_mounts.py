"""Which folders are on a network file system, by a file like /proc/self/mounts."""

from pathlib import Path

import pytest

from graft.core.mounts import network_type


@pytest.fixture
def mounts(tmp_path):
    """A list of mounts, as Linux shows it, with all mount points in the test's folder."""
    file = tmp_path / "mounts"
    entries = {
        "/dev/vda": ("/", "ext4"),
        "server:/home": (f"{tmp_path}/home", "nfs4"),
        "/dev/nvme0": (f"{tmp_path}/home/scratch", "xfs"),
        "//server/share": (f"{tmp_path}/our\\040share", "cifs"),
        "me@host:": (f"{tmp_path}/remote", "fuse.sshfs"),
        "10.0.0.1@tcp:/fs": (f"{tmp_path}/lustre", "lustre"),
        "auto": (f"{tmp_path}/auto", "autofs"),
        "server:/auto": (f"{tmp_path}/auto", "nfs"),
        "/dev/vdb": (f"{tmp_path}/covered", "nfs"),
        "/dev/vdc": (f"{tmp_path}/covered", "ext4"),
    }
    file.write_text("".join(f"{device} {point} {kind} rw 0 0\n" for device, (point, kind) in entries.items()))
    return file


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("home/me/store", "nfs4"),
        ("home", "nfs4"),
        ("home/scratch/store", None),
        ("homes/store", None),
        ("our share/store", "cifs"),
        ("remote/store", "fuse.sshfs"),
        ("lustre/store", "lustre"),
        ("auto/store", "nfs"),
        ("covered/store", None),
        ("store", None),
    ],
)
def test_the_innermost_and_last_mount_counts(mounts, tmp_path, folder, expected):
    assert network_type(tmp_path / folder, mounts) == expected


def test_a_link_and_a_relative_path_lead_to_where_the_folder_is(mounts, tmp_path, monkeypatch):
    (tmp_path / "home/me").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "home/me")
    monkeypatch.chdir(tmp_path)
    assert network_type(Path("link/store"), mounts) == "nfs4"
    assert network_type(Path("store"), mounts) is None


@pytest.mark.parametrize("content", [None, "", "one\ntwo fields\n"])
def test_where_the_system_lists_no_mounts_no_folder_is_refused(tmp_path, content):
    file = tmp_path / "mounts"
    if content is not None:
        file.write_text(content)
    assert network_type(tmp_path, file) is None
