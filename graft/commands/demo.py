"""graft demo: the exported classifier as a page in the browser, on this machine alone."""

import errno
import ipaddress
import socket
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from importlib.util import find_spec
from pathlib import Path

from graft.commands.demo_answer import Demo
from graft.core.errors import GraftError

EXAMPLE = "graft demo --model models --port 8000"
HOST, PORT = "127.0.0.1", 8000
# Of the extra `demo` of pyproject.toml.
PACKAGES = ("fastapi", "uvicorn")
# More connections are answered by status 503. Each can fill a file of 20 MB while it uploads.
MOST_CONNECTIONS = 100
# Seconds for the last answers after Ctrl+C.
LAST_ANSWERS = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft demo`."""
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="the folder with classifier.tflite and labels.json (default models)"
    )
    parser.add_argument(
        "--host", default=HOST, metavar="ADDRESS", help=f"where to listen (default {HOST}: only this machine)"
    )
    parser.add_argument("--port", type=_port, default=PORT, help=f"0 takes a free one (default {PORT})")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text} is not a whole number from 0 to 65535")
    return int(text)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises
    ------
    GraftError
        If the host is unknown, the port is in use, or it needs a permission.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Now, not when the page is ready: whoever connects at once waits, and a second demo finds the port in use.
        listener.listen(MOST_CONNECTIONS)
    except (socket.gaierror, UnicodeError) as error:
        raise GraftError(f"--host {host}: no such address; {HOST} is this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise GraftError(f"--port {port}: another program uses it; try --port {port % 65535 + 1}") from error
        if error.errno == errno.EACCES:
            raise GraftError(f"--port {port}: not allowed; use one from 1024") from error
        raise GraftError(f"--host {host}: {(error.strerror or 'an error').lower()}; {HOST} is this machine") from error
    return listener


def _require_packages() -> None:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise GraftError(
            f"graft demo needs {' and '.join(missing)}; run pip install -c constraints.txt {' '.join(missing)}"
        )


def main(arguments: Namespace) -> int:
    """Serve the page until Ctrl+C."""
    _require_packages()
    demo = Demo(arguments.model)
    listener = listening(arguments.host, arguments.port)
    # Imported only here, as the packages are optional.
    import uvicorn

    from graft.commands.demo_app import make_app

    config = uvicorn.Config(
        make_app(demo, arguments.host),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=LAST_ANSWERS,
    )
    host, port = listener.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port} shows the page; Ctrl+C ends it", flush=True)
    if not ipaddress.ip_address(host).is_loopback:
        print(f"--host {arguments.host}: everyone who can reach this machine can use the page", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        # It is how the page ends.
        return 0
    return 0
