"""Limits on what a server may do while Keras or KerasHub fetches weights."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.error import URLError

from graft.core.byte_sizes import readable

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Limits:
    """What the download of one file of weights may take.

    Attributes
    ----------
    size : bytes. The largest file that Keras publishes, of ConvNeXtXLarge, has 1.4 GB.
    seconds : of the whole answer.
    speed : the least number of bytes in a second, as the mean over a `window`.
    window : seconds.
    """

    size: int = 4 * 10**9
    seconds: float = 86_400
    speed: float = 1000
    window: float = 60


LIMITS = Limits()


@contextmanager
def timeout() -> Iterator[None]:
    """Limit how long a server may be silent: Keras waits for ever."""
    earlier = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(earlier)


@contextmanager
def limited(limits: Limits = LIMITS) -> Iterator[None]:
    """Limit time, speed and size of what urllib downloads, as Keras does: it has no limits of its own.

    Inside the block, the read of an answer beyond the limits raises a `URLError`.
    """
    urllib.request.install_opener(urllib.request.build_opener(_Handler(limits)))
    try:
        with timeout():
            yield
    finally:
        # urllib makes its usual one when it needs it.
        urllib.request.install_opener(None)


class _Handler(urllib.request.BaseHandler):
    """Puts limits on each answer of urllib, those that redirect included."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def http_response(self, _: urllib.request.Request, response: HTTPResponse) -> HTTPResponse:
        response.read = _Body(response, self._limits).read  # type: ignore[method-assign]
        return response

    https_response = http_response


class _Body:
    """Reads the body of an answer."""

    def __init__(self, response: HTTPResponse, limits: Limits) -> None:
        self._response = response
        self._limits = limits
        self._received = self._received_before = 0
        self._window_start = time.monotonic()
        self._deadline = self._window_start + limits.seconds
        length = response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            self._require_size(int(length))

    def read(self, amt: int | None = None) -> bytes:
        """Return what has come, up to `amt` bytes, without waiting for all of them; b"" at the end."""
        block = self._response.read1(-1 if amt is None else amt)
        self._received += len(block)
        self._require_size(self._received)
        self._require_speed(time.monotonic())
        return block

    def _require_size(self, size: int) -> None:
        if size > self._limits.size:
            raise URLError(f"it has more than {readable(self._limits.size)}")

    def _require_speed(self, now: float) -> None:
        if now > self._deadline:
            raise URLError(f"it took longer than {self._limits.seconds:,.10g} s")
        if now > self._window_start + self._limits.window:
            received, self._received_before = self._received - self._received_before, self._received
            if received < self._limits.speed * (now - self._window_start):
                raise URLError(f"too slow, less than {readable(int(self._limits.speed))} a second")
            self._window_start = now
