"""Files from the web: fetched whole or not at all."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from graft.core.errors import GraftError
from graft.data.fetch import fetch

ARCHIVE = bytes(range(256)) * 8
CHECKSUM = hashlib.sha256(ARCHIVE).hexdigest()


class Server:
    """A web server on this machine; `answers` are given in turn, the last one for ever."""

    def __init__(self):
        self.answers = ["whole"]
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answer = server.answers[min(server.requests, len(server.answers) - 1)]
                server.requests += 1
                if answer == "missing":
                    return self.send_error(404)
                self.send_response(200)
                self.send_header("Content-Length", str(len(ARCHIVE)))
                self.end_headers()
                content = {"whole": ARCHIVE, "cut": ARCHIVE[: len(ARCHIVE) // 2], "other": ARCHIVE[::-1]}
                self.wfile.write(content[answer])

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/a.zip?version=1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.stop()


def files_below(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_an_archive_is_fetched_once(server, tmp_path):
    path = fetch(server.url, CHECKSUM, tmp_path)
    assert path.read_bytes() == ARCHIVE
    assert fetch(server.url, CHECKSUM, tmp_path) == path
    assert server.requests == 1
    assert files_below(tmp_path) == [path.name]


def test_a_fetched_archive_keeps_its_suffix(server, tmp_path):
    assert fetch(server.url, CHECKSUM, tmp_path).suffix == ".zip"


def test_a_fetched_archive_that_was_damaged_since_is_fetched_again(server, tmp_path):
    path = fetch(server.url, CHECKSUM, tmp_path)
    path.write_bytes(b"damaged")
    assert fetch(server.url, CHECKSUM, tmp_path).read_bytes() == ARCHIVE
    assert server.requests == 2


def test_another_file_than_expected_is_refused_and_not_kept(server, tmp_path):
    server.answers = ["other"]
    found = hashlib.sha256(ARCHIVE[::-1]).hexdigest()
    with pytest.raises(GraftError, match=rf"^{server.url.replace('?', '.')}: not the expected file: [^\n]*{found}"):
        fetch(server.url, CHECKSUM, tmp_path)
    assert not files_below(tmp_path)


def test_a_missing_file_is_one_line_with_the_servers_status(server, tmp_path):
    server.answers = ["missing"]
    with pytest.raises(GraftError, match=r"cannot be fetched \(HTTP status 404\); check the address and the network$"):
        fetch(server.url, CHECKSUM, tmp_path)
    assert not files_below(tmp_path)


def test_no_server_is_one_line(server, tmp_path):
    server.stop()
    with pytest.raises(GraftError, match=r"^http://127[^\n]*: cannot be fetched \(ConnectionError\); check"):
        fetch(server.url, CHECKSUM, tmp_path)


@pytest.mark.parametrize("url", ["http://", "http://[", "https://.example.org/a.zip"])
def test_an_impossible_address_is_one_line(tmp_path, url):
    with pytest.raises(GraftError, match=r": cannot be fetched \([A-Za-z]+\); check the address and the network$"):
        fetch(url, CHECKSUM, tmp_path)


def test_a_connection_cut_halfway_leaves_nothing_and_the_next_call_starts_again(server, tmp_path):
    server.answers = ["cut", "whole"]
    with pytest.raises(GraftError, match=r"cannot be fetched \([A-Za-z]+\); check the address and the network$"):
        fetch(server.url, CHECKSUM, tmp_path)
    assert not files_below(tmp_path)
    assert fetch(server.url, CHECKSUM, tmp_path).read_bytes() == ARCHIVE
