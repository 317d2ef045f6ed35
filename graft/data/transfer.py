"""A file's bytes over HTTP: limits of size, time and speed, further tries after a fault, and Range where one broke off.

pooch has no limits, tries again without a pause, and cannot go on with a part of a file; so this uses requests itself.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions as urllib3

from graft.core.byte_sizes import readable
from graft.core.errors import GraftError
from graft.core.files import CHUNK_BYTES
from graft.core.progress import Progress

MOST_REDIRECTS = 10
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
ADVICE = "check the address and the network"


@dataclass(frozen=True)
class Limits:
    """What one download may take.

    Attributes
    ----------
    size : bytes of the file.
    seconds : of all tries and pauses together.
    speed : the least number of bytes in a second, as the mean over a `window`.
    window : seconds.
    timeout : seconds in which some bytes must come.
    pauses : seconds before each further try. A try that brings as much as `speed` asks of a window starts them again.
    longest_pause : seconds; a server that asks for a longer pause (Retry-After) is not tried again.
    """

    size: int
    seconds: float
    speed: float = 1000
    window: float = 60
    timeout: float = 30
    pauses: tuple[float, ...] = (1, 2, 4, 8, 16)
    longest_pause: float = 300


class _Broken(Exception):  # noqa: N818 - the state of a transfer
    """A fault that may be gone at the next try; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        super().__init__(reason)
        self.pause = pause


class Transfer:
    """Brings a file into `partial`, and goes on there if the server still has the same file.

    Beside `partial`, a file with the suffix .validator keeps the ETag or the date of what was begun.

    Attributes
    ----------
    encoding : the Content-Encoding of the file.
    """

    def __init__(self, url: str, partial: Path, limits: Limits) -> None:
        self.url = url
        self.partial = partial
        self.validator = partial.with_name(f"{partial.name}.validator")
        self.encoding = ""
        self._limits = limits
        self._received = 0
        self._furthest = 0
        self._total: int | None = None
        self._stopped = False
        self._fault: BaseException | None = None

    def run(self) -> None:
        """Bring the rest of the file.

        Raises
        ------
        GraftError
            If the file cannot be had within the limits; `partial` keeps what came.
        """
        deadline = time.monotonic() + self._limits.seconds
        pauses = iter(self._limits.pauses)
        while True:
            before = self._furthest
            try:
                return self._try_once(deadline)
            except _Broken as broken:
                if self._furthest - before >= self._limits.speed * self._limits.window:
                    pauses = iter(self._limits.pauses)
                self._pause(broken, next(pauses, None), deadline)

    def clear(self) -> None:
        """Delete what came so far."""
        self.partial.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)

    def _pause(self, broken: _Broken, pause: float | None, deadline: float) -> None:
        if pause is None:
            raise GraftError(f"{self.url}: cannot be fetched ({broken}, at each try); try again later") from broken
        pause = max(pause, broken.pause)
        if pause > self._limits.longest_pause or time.monotonic() + pause > deadline:
            raise GraftError(
                f"{self.url}: cannot be fetched ({broken}; the next try is in {pause:,.0f} s); run again then"
            ) from broken
        print(f"{self.url}: {broken}; next try in {pause:g} s", file=sys.stderr)
        time.sleep(pause)

    def _try_once(self, deadline: float) -> None:
        """Run a request in a thread, and look after time and speed here: a server may block a read for ever.

        The time-out of a socket begins again with each byte, also with each byte of a header.
        """
        self._fault = None
        worker = threading.Thread(target=self._guarded_request, daemon=True)
        worker.start()
        window_end, window_start = time.monotonic() + self._limits.window, self._received
        with Progress(name=self.partial.name, unit="B") as bar:
            while worker.is_alive():
                worker.join(min(0.2, self._limits.window / 4))
                bar.total = self._total
                bar.update(self._received - bar.n)
                now = time.monotonic()
                if now > deadline:
                    self._stop(f"took longer than limits.download_seconds, {self._limits.seconds:,.10g} s; "
                               "run again to go on, or raise it")  # fmt: skip
                if now > window_end:
                    if self._received - window_start < self._limits.speed * self._limits.window:
                        self._stop(f"too slow, less than {readable(int(self._limits.speed))} a second over "
                                   f"{self._limits.window:g} s; {ADVICE}")  # fmt: skip
                    window_end, window_start = now + self._limits.window, self._received
        if self._fault:
            raise self._fault

    def _stop(self, reason: str) -> None:
        self._stopped = True
        raise GraftError(f"{self.url}: {reason}")

    def _guarded_request(self) -> None:
        try:
            self._request()
        except (requests.RequestException, urllib3.HTTPError, UnicodeError) as error:
            self._fault = self._explained(error)
        except BaseException as error:  # noqa: BLE001 - `_try_once` raises it again
            self._fault = error

    def _request(self) -> None:
        validator = self.validator.read_text(encoding="latin-1") if self.validator.exists() else ""
        start = self.partial.stat().st_size if validator and self.partial.exists() else 0
        ranges = {"Range": f"bytes={start}-", "If-Range": validator} if start else {}
        with _Session() as session, self._answer(session, ranges) as response:
            start = self._start(response, start)
            length = response.headers.get("Content-Length", "")
            self._total = start + int(length) if length.isascii() and length.isdigit() else None
            if self._total is not None and self._total > self._limits.size:
                raise self._too_large(f"has {readable(self._total)}")
            self.encoding = response.headers.get("Content-Encoding", "").strip().lower()
            self._write(response, start)

    def _answer(self, session: requests.Session, headers: Mapping[str, str]) -> requests.Response:
        """Follow redirects: at most ten, and none from https to http."""
        address = self.url
        for _ in range(MOST_REDIRECTS + 1):
            response = session.get(
                address,
                # Without it, requests asks for a compressed body.
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                timeout=self._limits.timeout,
            )
            target = session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            before, address = address, urljoin(address, target)
            if urlsplit(before).scheme == "https" and urlsplit(address).scheme != "https":
                raise GraftError(f"{self.url}: refused, it leads from https to {address}, which anybody could change")
        raise GraftError(f"{self.url}: cannot be fetched (more than {MOST_REDIRECTS} redirects); {ADVICE}")

    def _start(self, response: requests.Response, asked: int) -> int:
        """Return the place in the file where the body begins."""
        status = response.status_code
        if status == 200:
            return 0
        if asked and status in (206, 416):
            if response.headers.get("Content-Range", "").startswith(f"bytes {asked}-") and status == 206:
                return asked
            self.clear()
            raise _Broken("the server does not go on where the file broke off")
        if status in PASSING_STATUSES:
            raise _Broken(f"HTTP status {status}", _seconds(response.headers.get("Retry-After", "")))
        raise GraftError(f"{self.url}: cannot be fetched (HTTP status {status}); {ADVICE}")

    def _write(self, response: requests.Response, start: int) -> None:
        place = start
        response.raw.enforce_content_length = False  # `_Broken` below says more
        with self.partial.open("ab") as file:
            file.truncate(start)
            if not start:
                self._keep_validator(response)
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                if self._stopped:
                    return
                place += len(chunk)
                if place > self._limits.size:
                    self.clear()
                    raise self._too_large("has more")
                file.write(chunk)
                self._received += len(chunk)
                self._furthest = max(self._furthest, place)
        if self._total is not None and place != self._total:
            raise _Broken(f"the connection ended after {place:,} of {self._total:,} bytes")

    def _keep_validator(self, response: requests.Response) -> None:
        etag = response.headers.get("ETag", "")
        # If-Range takes no weak ETag.
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        if validator:
            self.validator.write_text(validator, encoding="latin-1")
        else:
            self.validator.unlink(missing_ok=True)

    def _too_large(self, found: str) -> GraftError:
        allowed = readable(self._limits.size)
        return GraftError(f"{self.url}: {found}, but limits.download_size is {allowed}; raise it for this file")

    def _explained(self, error: Exception) -> Exception:
        cause = _innermost(error)
        if isinstance(error, requests.exceptions.ProxyError):
            reason = "the proxy does not answer, or refuses"
        elif isinstance(error, requests.exceptions.SSLError):
            reason = f"TLS: {' '.join(str(cause).split())[:200]}"
        elif isinstance(cause, urllib3.NameResolutionError):
            reason = f"the name {urlsplit(self.url).hostname} is not known"
        elif isinstance(error, requests.Timeout | urllib3.TimeoutError):
            reason = f"no answer in {self._limits.timeout:g} s"
        else:
            reason = type(error).__name__
        # Where no server was ever reached, none will be in a moment.
        never_reached = isinstance(cause, urllib3.NewConnectionError) and not self._received
        lasting = (requests.exceptions.ProxyError, requests.exceptions.SSLError, urllib3.LocationValueError)
        broken = (requests.ConnectionError, requests.Timeout, urllib3.HTTPError)
        if isinstance(error, broken) and not isinstance(error, lasting) and not never_reached:
            return _Broken(reason)
        return GraftError(f"{self.url}: cannot be fetched ({reason}); {ADVICE}")


class _Session(requests.Session):
    """Follows no redirect itself: it would read the whole body of each first."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[requests.Response]:
        yield from ()


def _innermost(error: Exception) -> Exception:
    """Return the exception of urllib3 that one of requests holds."""
    held = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return getattr(held, "reason", None) or held


def _seconds(retry_after: str) -> float:
    """Return the pause that a header Retry-After asks for, as seconds or as a date; 0 if it has neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
