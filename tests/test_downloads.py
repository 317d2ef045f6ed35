"""Weights that Keras downloads itself: whole, or one line after a bounded time and size."""

import sys
from pathlib import Path
from urllib.request import urlopen

import keras
import pytest
from test_fetch import BODY, HALF, Server, answer, endless, trickle, whole

from graft.backbone.build import build
from graft.backbone.downloads import Limits, limited
from graft.core.errors import GraftError

LIMITS = Limits(size=100_000, seconds=20, speed=1000, window=0.3)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def get(server, tmp_path):
    """Return a function that lets Keras download the server's file, with changes of LIMITS; it gives the path."""

    def download(**changes):
        with limited(Limits(**(vars(LIMITS) | changes))):
            return keras.utils.get_file("weights.h5", server.url, cache_dir=str(tmp_path), cache_subdir="models")

    return download


def test_a_file_comes_whole(get):
    assert Path(get()).read_bytes() == BODY


@pytest.mark.parametrize(
    ("respond", "changes", "reason"),
    [
        (answer(Content_Length=100_001), {}, r"it has more than 100\.0 KB"),
        (endless, {}, r"it has more than 100\.0 KB"),
        (trickle("body"), {}, r"too slow, less than 1\.0 KB a second"),
        (trickle("body"), {"window": 20, "seconds": 0.3}, r"it took longer than 0\.3 s"),
        (answer(body=BODY[:HALF], Content_Length=len(BODY)), {}, "retrieval incomplete"),
    ],
    ids=["too large", "endless", "slow", "long", "cut"],
)
def test_a_file_beyond_the_limits_is_refused_and_nothing_of_it_is_left(get, server, tmp_path, respond, changes, reason):
    server.answers = [respond]
    with pytest.raises(Exception, match=reason):
        get(**changes)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_endless_body_of_a_redirect_is_not_read(get, server):
    def redirect(request):
        request.send_response(302)
        request.send_header("Location", "/other")
        request.end_headers()
        while True:
            request.wfile.write(bytes(10_000))

    server.answers = [redirect, whole]
    assert Path(get()).read_bytes() == BODY


def test_the_limits_end_with_the_download(get, server):
    get()
    server.answers = [answer(body=bytes(200_000))]
    with urlopen(server.url) as response:
        assert len(response.read()) == 200_000


def test_a_backbone_whose_server_would_fill_the_disk_is_one_line_with_the_address(server, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["keras.src.backend.config"], "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(sys.modules["keras.src.applications.vgg16"], "WEIGHTS_PATH_NO_TOP", server.url)
    server.answers = [answer(Content_Length=5 * 10**9)]
    line = r"^backbone: the weights of VGG16 could not be fetched [^\n]*127\.0\.0\.1[^\n]* it has more than 4\.0 GB"
    with pytest.raises(GraftError, match=line):
        build("VGG16", 32, "imagenet")
