"""What a pattern of tar shards stands for, and what `dataset` makes of it."""

import shutil
import subprocess

import pytest

from graft.core import packages
from graft.core.errors import GraftError
from graft.settings import datasets, shards

CHECKSUM = "0" * 64


@pytest.mark.parametrize(
    "pattern",
    [
        "a-{000..012}.tar",
        "a-{0..12}.tar",
        "a-{8..011}.tar",
        "a-{3..1}.tar",
        "a-{7..7}.tar",
        "{a,b}-{0..1}.tar",
        "{train-{00..02},val-{0..1}}.tar",
        "x-{a,{b,c}}{1..2}.tar",
        "{a-{0..1}.tar,classes.txt}",
    ],
)
@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_a_pattern_stands_for_what_bash_makes_of_it(pattern):
    expected = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
    assert shards.expand(pattern) == expected.stdout.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos", False),
        ("photos {2024}.tar", False),
        ("a.tar", False),
        ("a-{0..3}.tar", True),
        ("s3://bucket/{a,b}.tar", True),
    ],
)
def test_braces_with_a_comma_or_two_dots_are_a_pattern(text, expected):
    assert shards.is_pattern(text) is expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s/a-{0..999999999}.tar", r"stands for more than 100,000 files; make larger shards$"),
        ("s/a-{0..1}.tar.gz", r"'a-0\.tar\.gz' is no shard; a shard is a \.tar file that is not compressed"),
        ("s/{a,b}/{0..1}.tar", r"s/a/0\.tar is in another folder; the shards must lie in one, s/$"),
        ("s/{../x,y}.tar", r"s/\.\./x\.tar is in another folder"),
        ("s/a-{1,1}.tar", r"names a-1\.tar 2 times; name each shard once$"),
        ("{" * 30 + ",.tar", r"has more than 20 braces; write it with fewer$"),
    ],
)
def test_an_odd_pattern_is_one_line(pattern, message):
    with pytest.raises(GraftError, match=message) as raised:
        shards.expand(pattern)
    assert str(raised.value).startswith("dataset: ")


def test_the_shards_of_an_address_may_have_a_query():
    found = shards.expand("https://host/a/t-{0..1}.tar?version=1/2")
    assert [shards.name_of(address) for address in found] == ["t-0.tar", "t-1.tar"]
    assert shards.folder_of("https://host/a/t-{0..1}.tar?version=1/2") == "https://host/a"


def test_local_shards_are_their_folder_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    for number in range(2):
        (tmp_path / f"s/t-{number}.tar").touch()
    assert datasets.find("s/t-{0..1}.tar", None, tmp_path) == tmp_path / "s"
    with pytest.raises(
        GraftError, match=r"^dataset: s/t-\{0\.\.3\}\.tar: s/t-2\.tar is no file \(2 of 4 are missing\)"
    ):
        datasets.find("s/t-{0..3}.tar", None, tmp_path)


def test_shards_in_the_repositorys_own_folder_are_one_line(tmp_path):
    with pytest.raises(GraftError, match=r"the shards need a folder of their own, as shards/\{a,b\}\.tar$"):
        datasets.find("{a,b}.tar", None, tmp_path)


def test_a_pattern_without_its_folder_is_one_line_and_names_dvc_pull_where_that_helps(tmp_path):
    with pytest.raises(GraftError, match=r"^dataset: s/t-\{0\.\.1\}\.tar: no such folder"):
        datasets.find("s/t-{0..1}.tar", None, tmp_path)
    (tmp_path / "s.dvc").touch()
    with pytest.raises(GraftError, match=r"is under DVC, but not here yet; `dvc pull s\.dvc` fetches it"):
        datasets.find("s/t-{0..1}.tar", None, tmp_path)


def test_a_folder_or_archive_whose_name_has_braces_stays_what_it_is(tmp_path):
    (tmp_path / "a {1,2}").mkdir()
    (tmp_path / "b{1,2}.tar").touch()
    for name in ("a {1,2}", "b{1,2}.tar"):
        assert datasets.find(name, None, tmp_path) == tmp_path / name


def test_the_shards_of_an_address_need_a_checksum(tmp_path):
    pattern = "https://host/t-{0..1}.tar"
    with pytest.raises(GraftError, match=r"needs dataset_sha256 in params.yaml, the SHA-256 of the list of its shards"):
        datasets.find(pattern, None, tmp_path)
    assert datasets.find(pattern, CHECKSUM, tmp_path) == datasets.Entry(url=pattern, sha256=CHECKSUM)


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_an_object_store_needs_its_package_and_braces(tmp_path, monkeypatch, scheme, package):
    with pytest.raises(GraftError, match=r"has no braces; only shards are read from there"):
        datasets.find(f"{scheme}://bucket/a.tar", CHECKSUM, tmp_path)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(
        GraftError, match=rf"the package {package} is not installed; run pip install .* -e '\.\[{scheme}\]'$"
    ):
        datasets.find(f"{scheme}://bucket/{{a,b}}.tar", CHECKSUM, tmp_path)
