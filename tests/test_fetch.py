"""Files from the web: fetched whole or not at all, within limits, from servers of every kind."""

import fcntl
import gzip
import hashlib
import os
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from graft.core.errors import GraftError
from graft.data.fetch import fetch
from graft.data.transfer import Limits

BODY = bytes(range(256)) * 40
HALF = len(BODY) // 2
CHECKSUM = hashlib.sha256(BODY).hexdigest()
LIMITS = Limits(size=100_000, seconds=20, speed=1000, window=5, timeout=5, pauses=(0.01, 0.02))
ETAG = {"ETag": '"one"'}


class Server:
    """A web server on this machine; `answers` are functions of the request, each given once, the last one for ever."""

    def __init__(self, certificate=None):
        self.answers = [whole]
        self.asked = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answer = server.answers[min(len(server.asked), len(server.answers) - 1)]
                server.asked.append(dict(self.headers))
                self.closing = server.closing
                with suppress(OSError):  # the client has gone
                    answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}/a.zip?version=1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(request, status=200, body=BODY, headers=()):
    request.send_response(status)
    for name, value in ({"Content-Length": len(body)} | dict(headers)).items():
        if value is not None:
            request.send_header(name, str(value))
    request.end_headers()
    request.wfile.write(body)


def answer(status=200, body=BODY, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: reply(request, status, body, named)


def rest(request):
    """Answer as a server with ranges does, of a file that has not changed."""
    if request.headers.get("If-Range") != ETAG["ETag"]:
        return reply(request, headers=ETAG)
    start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    headers = ETAG | {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}
    return reply(request, 206, BODY[start:], headers)


def trickle(send):
    """Send one byte after the other for ever, with pauses."""

    def answered(request):
        request.send_response(200)
        request.end_headers() if send == "body" else request.flush_headers()
        while not request.closing.wait(0.05):
            request.wfile.write(b"x")

    return answered


def endless(request):
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(10_000))


whole = answer()
half = answer(body=BODY[:HALF], Content_Length=len(BODY), **ETAG)
half_without_etag = answer(body=BODY[:HALF], Content_Length=len(BODY))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def get(server, tmp_path):
    """Return a function that fetches the server's file, with changes of LIMITS; it gives the path."""

    def fetched(sha256=CHECKSUM, url=None, **changes):
        return fetch(url or server.url, sha256, tmp_path, Limits(**(vars(LIMITS) | changes)))

    return fetched


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def refusal(get, *arguments, **options):
    with pytest.raises(GraftError) as caught:
        get(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_archive_is_fetched_once(server, get, tmp_path):
    path = get()
    assert path.read_bytes() == BODY
    assert get() == path
    assert len(server.asked) == 1
    assert files_below(tmp_path) == [path.name]


def test_a_fetched_archive_keeps_its_suffix(get):
    assert get().suffix == ".zip"


def test_a_very_long_name_is_cut_at_its_beginning(server, get):
    path = get(url=f"http://127.0.0.1:{server.port}/{'a' * 300}.zip#part")
    assert path.suffix == ".zip"
    assert len(path.name) < 150


def test_a_fetched_archive_that_was_damaged_since_is_fetched_again(server, get):
    get().write_bytes(b"damaged")
    assert get().read_bytes() == BODY
    assert len(server.asked) == 2


def test_another_file_than_expected_is_refused_and_not_kept(server, get, tmp_path):
    server.answers = [answer(body=BODY[::-1], **ETAG)]
    found = hashlib.sha256(BODY[::-1]).hexdigest()
    assert refusal(get) == f"{server.url}: not the expected file: its SHA-256 is {found}, not {CHECKSUM}"
    assert not files_below(tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("sha256", [CHECKSUM, None])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Log in</title>", b"\xef\xbb\xbf\n <HTML>"])
def test_a_web_page_is_refused_with_and_without_a_checksum(server, get, tmp_path, page, sha256):
    server.answers = [answer(body=page)]
    assert ": not the expected file: it is a web page, maybe to log in; get the file with a browser" in refusal(
        get, sha256
    )
    assert not files_below(tmp_path)


@pytest.mark.parametrize("status", [204, 304, 401, 404, 501])
def test_a_missing_file_is_one_line_with_the_servers_status_and_not_tried_again(server, get, tmp_path, status):
    server.answers = [answer(status, b"")]
    expected = f"{server.url}: cannot be fetched (HTTP status {status}); check the address and the network"
    assert refusal(get) == expected
    assert len(server.asked) == 1
    assert not files_below(tmp_path)


def test_no_server_is_one_line_at_once(server, get, capsys):
    server.stop()
    assert refusal(get).endswith(": cannot be fetched (ConnectionError); check the address and the network")
    assert "next try" not in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://", "http://[", "https://.example.org/a.zip", f"http://{'a' * 64}.org/a.zip"])
def test_an_impossible_address_is_one_line(get, url):
    reason = refusal(get, url=url)
    assert reason.startswith(f"{url}: cannot be fetched (")
    assert reason.endswith("); check the address and the network")


def test_an_unknown_host_is_named(get):
    expected = "http://no-such-host.invalid/a.zip: cannot be fetched (the name no-such-host.invalid is not known); "
    assert refusal(get, url="http://no-such-host.invalid/a.zip").startswith(expected)


def test_a_dead_proxy_is_named(get, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert "cannot be fetched (the proxy does not answer, or refuses); check" in refusal(get, url="http://x.org/a.zip")


def test_a_server_without_tls_is_one_line(server, get):
    assert "cannot be fetched (TLS: " in refusal(get, url=server.url.replace("http:", "https:"))


# What passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_of_the_server_is_tried_again(server, get, capsys, status):
    server.answers = [answer(status, b"later"), whole]
    assert get().read_bytes() == BODY
    errors = capsys.readouterr()
    assert errors.err == f"{server.url}: HTTP status {status}; next try in 0.01 s\n"
    assert not errors.out


def test_after_the_last_try_the_fault_is_one_line(server, get, tmp_path):
    server.answers = [answer(503, b"")]
    assert refusal(get) == f"{server.url}: cannot be fetched (HTTP status 503, at each try); try again later"
    assert len(server.asked) == 3
    assert not files_below(tmp_path)


@pytest.mark.parametrize("after", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_the_server_says_how_long_to_wait(server, get, after):
    server.answers = [answer(429, b"", Retry_After=after()), whole]
    start = time.monotonic()
    get()
    assert 0.9 < time.monotonic() - start < 4


@pytest.mark.parametrize("after", ["0", "soon", "-5", "², 3", "Thu, 99 Foo 2026"])
def test_an_odd_wait_is_no_wait(server, get, after):
    server.answers = [answer(429, b"", Retry_After=after.encode().decode("latin-1")), whole]
    assert get().read_bytes() == BODY


@pytest.mark.parametrize("after", ["3600", "9" * 400, "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_that_asks_for_a_long_wait_is_not_waited_for(server, get, after):
    server.answers = [answer(429, b"", Retry_After=after)]
    assert "(HTTP status 429; the next try is in " in refusal(get)


def test_a_connection_cut_halfway_goes_on_where_it_stopped(server, get, tmp_path):
    server.answers = [half, rest]
    path = get()
    assert path.read_bytes() == BODY
    assert server.asked[1]["Range"] == f"bytes={HALF}-"
    assert server.asked[1]["If-Range"] == ETAG["ETag"]
    assert files_below(tmp_path) == [path.name]


def test_a_later_call_goes_on_too(server, get, tmp_path):
    server.answers = [half]
    assert f"the connection ended after {HALF:,} of {len(BODY):,} bytes" in refusal(get, pauses=())
    assert [name[:6] for name in files_below(tmp_path)] == [".part-", ".part-"]
    server.answers = [rest]
    path = get()
    assert path.read_bytes() == BODY
    assert "Range" in server.asked[-1]
    assert files_below(tmp_path) == [path.name]


def test_tries_that_bring_something_are_not_counted(server, get):
    sizes = iter(range(1000, 20_000, 1000))

    def next_thousand(request):
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        size = next(sizes)
        headers = ETAG | {"Content-Range": f"bytes {start}-/{len(BODY)}", "Content-Length": len(BODY) - start}
        reply(request, 206 if start else 200, BODY[start:size], headers)

    server.answers = [next_thousand]
    assert get(speed=100, window=5).read_bytes() == BODY
    assert len(server.asked) == 11


def test_without_a_validator_a_broken_download_begins_again_and_leaves_nothing(server, get, tmp_path):
    server.answers = [half_without_etag]
    refusal(get)
    assert not files_below(tmp_path)
    server.answers = [half_without_etag, whole]
    server.asked.clear()
    assert get().read_bytes() == BODY
    assert "Range" not in server.asked[1]


def test_a_date_is_a_validator_and_a_weak_etag_is_none(server, get):
    date = "Sat, 01 Aug 2026 10:00:00 GMT"
    server.answers = [answer(body=BODY[:HALF], Content_Length=len(BODY), ETag='W/"1"', Last_Modified=date), whole]
    assert get().read_bytes() == BODY
    assert server.asked[1]["If-Range"] == date


@pytest.mark.parametrize(
    "second",
    [
        whole,
        answer(206, BODY[HALF - 1 :], Content_Range=f"bytes {HALF - 1}-{len(BODY) - 1}/{len(BODY)}"),
        answer(206, BODY[HALF:]),
        answer(416, b"", Content_Range=f"bytes */{HALF}"),
    ],
    ids=["no ranges", "another range", "no Content-Range", "not satisfiable"],
)
def test_where_the_server_does_not_go_on_the_download_begins_again(server, get, second):
    server.answers = [half, second, whole]
    assert get().read_bytes() == BODY


def test_a_wrong_rest_of_an_earlier_part_makes_the_download_begin_again(server, get, tmp_path):
    server.answers = [half]
    refusal(get, pauses=())
    part = next(path for path in tmp_path.iterdir() if path.suffix != ".validator")
    part.write_bytes(bytes(HALF))
    server.answers = [rest]
    assert get().read_bytes() == BODY


@pytest.mark.parametrize(
    ("length", "right"), [(len(BODY) + 10, False), ("many", True), (-5, True), (f"{len(BODY)}, 7", False)]
)
def test_a_wrong_length_never_gives_a_file_that_is_cut(server, get, tmp_path, length, right):
    server.answers = [answer(Content_Length=length)]
    if right:
        assert get().read_bytes() == BODY
    else:
        refusal(get)
        assert not files_below(tmp_path)


def test_a_length_that_is_too_small_is_found_by_the_checksum(server, get, tmp_path):
    server.answers = [answer(Content_Length=100)]
    assert "not the expected file" in refusal(get)
    assert not files_below(tmp_path)


# Limits ----------------------------------------------------------------------------------------------------------


def test_a_length_above_the_limit_is_refused_before_anything_is_written(server, get, tmp_path):
    server.answers = [answer(Content_Length=100_001, **ETAG)]
    expected = f"{server.url}: has 100.0 KB, but limits.download_size is 100.0 KB; raise it for this file"
    assert refusal(get) == expected
    assert not files_below(tmp_path)


def test_an_endless_body_ends_at_the_limit_and_leaves_nothing(server, get, tmp_path):
    server.answers = [endless]
    assert "has more, but limits.download_size is 100.0 KB" in refusal(get)
    assert not files_below(tmp_path)


@pytest.mark.parametrize("send", ["header", "body"])
def test_a_byte_now_and_then_is_too_slow(server, get, send):
    server.answers = [trickle(send)]
    start = time.monotonic()
    assert refusal(get, window=0.3).endswith(
        "too slow, less than 1.0 KB a second over 0.3 s; check the address and the network"
    )
    assert time.monotonic() - start < 3


def test_the_time_is_limited_and_what_came_is_kept(server, get, tmp_path):
    def half_and_wait(request):
        half(request)
        request.closing.wait(10)

    server.answers = [half_and_wait]
    assert refusal(get, seconds=0.5).endswith(
        ": took longer than limits.download_seconds, 0.5 s; run again to go on, or raise it"
    )
    assert HALF in [path.stat().st_size for path in tmp_path.iterdir()]
    server.answers = [rest]
    assert get().read_bytes() == BODY


def test_a_silent_server_is_tried_again_and_then_named(server, get):
    server.answers = [lambda request: request.closing.wait(10)]
    assert "cannot be fetched (no answer in 0.1 s, at each try)" in refusal(get, timeout=0.1, pauses=(0.01,))
    assert len(server.asked) == 2


# Redirects and encodings -----------------------------------------------------------------------------------------


def test_redirects_are_followed_also_relative_ones(server, get):
    server.answers = [answer(302, b"", Location="/b.zip"), answer(308, b"", Location=f"{server.url}&x"), whole]
    assert get().read_bytes() == BODY


def test_a_redirect_with_an_endless_body_is_followed(server, get):
    def endless_redirect(request):
        reply(request, 302, b"", {"Location": "/b.zip", "Content-Length": None})
        while True:
            request.wfile.write(bytes(10_000))

    server.answers = [endless_redirect, whole]
    assert get().read_bytes() == BODY


def test_a_redirect_loop_ends_after_ten(server, get):
    server.answers = [answer(301, b"", Location="/a.zip")]
    assert "cannot be fetched (more than 10 redirects)" in refusal(get)
    assert len(server.asked) == 11


def test_a_redirect_to_something_else_than_http_is_refused(server, get):
    server.answers = [answer(301, b"", Location="file:///etc/passwd")]
    assert "cannot be fetched (InvalidSchema)" in refusal(get)


def test_a_redirect_from_https_to_http_is_refused(server, get, tmp_path, monkeypatch):
    certificate = tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout"
    )
    subprocess.run([*command.split(), certificate, "-out", tmp_path / "one"], check=True, capture_output=True)
    with certificate.open("a") as file:
        file.write((tmp_path / "one").read_text())
    secure = Server(certificate)
    try:
        secure.answers = [answer(302, b"", Location=server.url)]
        assert "cannot be fetched (TLS: " in refusal(get, url=secure.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert "refused, it leads from https to http://127" in refusal(get, url=secure.url)
    finally:
        secure.stop()
    assert not server.asked


def test_no_compression_is_asked_for_and_one_that_comes_all_the_same_is_undone(server, get):
    server.answers = [answer(body=gzip.compress(BODY), Content_Encoding="gzip")]
    assert get().read_bytes() == BODY
    assert server.asked[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("known", [True, False])
def test_a_compressed_archive_that_is_called_encoded_stays_as_it_is(server, get, known):
    body = gzip.compress(BODY)
    server.answers = [answer(body=body, Content_Encoding="x-gzip")]
    checksum = hashlib.sha256(body).hexdigest() if known else None
    assert get(checksum, url=f"http://127.0.0.1:{server.port}/a.tgz").read_bytes() == body


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(bytes(200_000)), "gzip", "has more than limits.download_size, 100.0 KB"),
        (gzip.compress(BODY)[:-20], "gzip", "it comes with Content-Encoding gzip, but is none"),
        (b"text", "gzip", "it comes with Content-Encoding gzip, but is none"),
        (b"text", "br", "it comes with Content-Encoding br, which was not asked for"),
    ],
)
def test_another_compression_is_one_line(server, get, tmp_path, body, encoding, reason):
    server.answers = [answer(body=body, Content_Encoding=encoding)]
    assert reason in refusal(get)
    assert reason in refusal(get, None)
    assert not files_below(tmp_path)


# The folder ------------------------------------------------------------------------------------------------------


def test_parts_are_deleted_after_a_week(get, tmp_path):
    for name, days in ((".part-old", 8), ("tmpold", 8), (".part-new", 6), ("other", 8)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - days * 86_400,) * 2)
    get()
    assert {".part-old", "tmpold"}.isdisjoint(files_below(tmp_path))
    assert {".part-new", "other"} <= set(files_below(tmp_path))


def test_two_processes_do_not_download_to_one_folder_at_once(server, get, tmp_path, capsys):
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    thread = threading.Thread(target=get)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert not server.asked
    assert "waiting for another process" in capsys.readouterr().err
    os.close(other)
    thread.join()
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "downloads").touch()
    with pytest.raises(GraftError, match=r"^[^\n]*downloads: cannot be read or written \(File exists\)$"):
        fetch(server.url, CHECKSUM, tmp_path / "downloads", LIMITS)
