"""Shards of an address: fetched whole into data/raw, checked by one hash, from the web or an object store."""

import errno
import functools
import hashlib
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from shard_files import pack_folders, samples, write_shard

from graft.core.errors import GraftError
from graft.core.files import read_rows
from graft.data import cloud
from graft.data.fetch import fetch as fetch_file
from graft.data.transfer import Limits
from graft.images import loader
from stages import download, resolve

RAW, REPORT, LIST = Path("data/raw"), Path("data/raw.json"), Path("data/images.csv")
NAMES = [f"photos-{number:06d}.tar" for number in range(3)]
PATTERN = "photos-{000000..000002}.tar"
LIMITS = Limits(size=10_000_000, seconds=20)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def fetch(project):
    """Return a function that runs resolve and download on a data set and gives the report."""

    def fetched(dataset, sha256, **changes):
        project.set(dataset=dataset, dataset_sha256=sha256, **changes)
        resolve.main()
        download.main()
        return json.loads(REPORT.read_text(encoding="utf-8"))

    return fetched


@pytest.fixture
def web(tmp_path):
    """A web server on this machine that gives the files of a folder: the folder, its address, what was asked for."""
    folder, asked = tmp_path / "web", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, _, *arguments):
            asked.append(arguments[0])

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def checksum_of_list(folder):
    """Return what `sha256sum * | sha256sum` prints in a folder."""
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_shards_of_the_web_come_into_data_raw_with_an_index_each(fetch, web, image_folder):
    folder, address, asked = web
    pack_folders(image_folder, folder)
    report = fetch(f"{address}/{PATTERN}", checksum_of_list(folder))
    assert report["classes"] == {"blue": 12, "green": 12, "red": 12}
    assert names_in(RAW) == sorted([*NAMES, *(f"{name}.csv" for name in NAMES)])
    for name in NAMES:
        assert (RAW / name).read_bytes() == (folder / name).read_bytes()
    for row in read_rows(LIST):
        assert loader.content(RAW / row["path"]) == (image_folder / row["path"].partition("/")[2]).read_bytes()
    # A second run fetches none again.
    assert len(asked) == 3
    fetch(f"{address}/{PATTERN}", checksum_of_list(folder))
    assert len(asked) == 3


def test_the_list_of_classes_is_fetched_where_the_pattern_names_it(fetch, web, image_folder):
    folder, address, _ = web
    write_shard(folder / "a.tar", samples(image_folder, classes={"blue": 0, "green": 1, "red": 2}))
    (folder / "classes.txt").write_text("bleu\nvert\nrouge\n")
    report = fetch(f"{address}/{{a.tar,classes.txt}}", checksum_of_list(folder))
    assert report["classes"] == {"bleu": 12, "rouge": 12, "vert": 12}
    assert names_in(RAW) == ["a.tar", "a.tar.csv"]


def test_other_shards_than_those_of_the_checksum_are_one_line_with_the_checksum_that_they_have(
    fetch, web, image_folder
):
    folder, address, _ = web
    pack_folders(image_folder, folder)
    expected = checksum_of_list(folder)
    with pytest.raises(GraftError) as raised:
        fetch(f"{address}/{PATTERN}", "0" * 64)
    message = str(raised.value)
    assert f"the SHA-256 of the list of its shards is {expected}, but dataset_sha256 is {'0' * 64}; compare " in message
    (listed,) = Path(".cache/downloads").glob("*SHA256SUMS")
    assert hashlib.sha256(listed.read_bytes()).hexdigest() == expected
    assert not RAW.exists()


def test_a_missing_shard_is_one_line_with_its_address(fetch, web, image_folder):
    folder, address, _ = web
    pack_folders(image_folder, folder)
    (folder / NAMES[1]).unlink()
    with pytest.raises(GraftError, match=rf"^{address}/{NAMES[1]}: cannot be fetched \(HTTP status 404\); check"):
        fetch(f"{address}/{PATTERN}", "0" * 64)


def test_shards_beyond_the_limits_are_one_line(fetch, web, image_folder):
    folder, address, _ = web
    sizes = [path.stat().st_size for path in pack_folders(image_folder, folder)]
    with pytest.raises(GraftError, match=rf"{NAMES[0]}: .*, but limits.download_size is"):
        fetch(f"{address}/{PATTERN}", "0" * 64, limits__download_size=sizes[0] - 1)
    with pytest.raises(GraftError, match=r"the shards have more than .*; if that is right, raise limits.unpacked_size"):
        fetch(f"{address}/{PATTERN}", "0" * 64, limits__unpacked_size=sum(sizes) - 1)


def test_a_shard_of_data_raw_that_was_altered_is_named(fetch, web, image_folder):
    folder, address, _ = web
    pack_folders(image_folder, folder)
    fetch(f"{address}/{PATTERN}", checksum_of_list(folder))
    path = RAW / read_rows(LIST)[0]["path"]
    (RAW / NAMES[0]).unlink()
    (RAW / NAMES[0]).write_bytes(bytes(100_000))
    with pytest.raises(GraftError, match=rf"^data/raw/{NAMES[0]}: blue/000\.jpg is not what it was when download read"):
        loader.content(path)


# Object stores


@pytest.fixture(scope="module")
def s3():
    """An S3-compatible server on this machine with the bucket `photos`: a client, and the server's address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    client.create_bucket(Bucket="photos")
    yield client, address
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch, tmp_path):
    """The client of that server; what reads s3:// in this process asks the server too."""
    client, address = s3
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    return client


def test_shards_of_an_object_store_come_into_data_raw(fetch, bucket, image_folder, tmp_path):
    for path in pack_folders(image_folder, tmp_path / "shards"):
        bucket.put_object(Bucket="photos", Key=f"flowers/{path.name}", Body=path.read_bytes())
    report = fetch(f"s3://photos/flowers/{PATTERN}", checksum_of_list(tmp_path / "shards"))
    assert report["images"] == 36
    row = read_rows(LIST)[-1]
    assert loader.content(RAW / row["path"]) == (image_folder / row["path"].partition("/")[2]).read_bytes()


@pytest.mark.parametrize("url", ["s3://photos/none.tar", "s3://no-such-bucket/a.tar"])
def test_a_missing_object_is_one_line(bucket, tmp_path, url):
    with pytest.raises(GraftError, match=rf"^{url}: cannot be fetched \([^\n]*\); check the address[^\n]*$"):
        fetch_file(url, None, tmp_path, LIMITS)


def test_no_answer_or_no_keys_are_one_line(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(GraftError, match=r"^s3://photos/a\.tar: cannot be fetched \([^\n]*\); check the address"):
        fetch_file("s3://photos/a.tar", None, tmp_path, LIMITS)


def test_an_object_goes_on_where_it_broke_off_only_while_it_is_the_same(bucket, tmp_path):
    content = bytes(range(256)) * 1000
    bucket.put_object(Bucket="photos", Key="a.tar", Body=content)
    with pytest.raises(GraftError, match=r"took longer than limits.download_seconds, 0 s; run again to go on"):
        fetch_file("s3://photos/a.tar", None, tmp_path, Limits(size=10_000_000, seconds=0))
    (partial,) = (path for path in tmp_path.iterdir() if path.suffix == ".tar")
    # What is there is not fetched again: this would show it.
    partial.write_bytes(b"x" * 1000)
    assert fetch_file("s3://photos/a.tar", None, tmp_path, LIMITS).read_bytes() == b"x" * 1000 + content[1000:]
    (tmp_path / partial.name.removeprefix(".part-")).unlink()
    with pytest.raises(GraftError):
        fetch_file("s3://photos/a.tar", None, tmp_path, Limits(size=10_000_000, seconds=0))
    partial.write_bytes(b"x" * 1000)
    bucket.put_object(Bucket="photos", Key="a.tar", Body=content[::-1])
    assert fetch_file("s3://photos/a.tar", None, tmp_path, LIMITS).read_bytes() == content[::-1]


def test_an_object_beyond_the_limit_is_one_line(bucket, tmp_path):
    bucket.put_object(Bucket="photos", Key="large.tar", Body=bytes(1000))
    with pytest.raises(GraftError, match=r"large\.tar: has 1\.0 KB, but limits\.download_size is 999 B;"):
        fetch_file("s3://photos/large.tar", None, tmp_path, Limits(size=999, seconds=20))


def test_a_full_disk_is_one_line(bucket, tmp_path, monkeypatch):
    bucket.put_object(Bucket="photos", Key="a.tar", Body=bytes(1000))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cloud.Progress, "update", full)
    with pytest.raises(GraftError, match=r": the disk is full; free some space and run again$"):
        fetch_file("s3://photos/a.tar", None, tmp_path, LIMITS)
