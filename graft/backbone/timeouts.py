"""A limit on how long a server may be silent."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_SECONDS = 30


@contextmanager
def timeout() -> Iterator[None]:
    """Limit how long a server may be silent: Keras waits for ever."""
    earlier = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(earlier)
