"""The web application of `graft demo`: the page, and an answer for each image that is sent to it."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.requests import ClientDisconnect

from graft.commands.demo_answer import Demo
from graft.core.errors import GraftError, one_line
from graft.core.threads import usable_cpus
from graft.images.decoder import UnreadableImageError

PAGE = Path(__file__).parent / "demo_page"
FILES = {"/": "demo.html", "/demo.css": "demo.css", "/demo.js": "demo.js"}
# Bytes of one image file, and of what is read of a request before it is refused.
MAX_UPLOAD, MAX_DISCARDED = 20_000_000, 200_000_000
UPLOAD_SECONDS = 60
HEADERS = {
    # The page uses nothing of other places, and no other page may show it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that gets no answer: the status, and one line that says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def is_allowed_host(header: str, host: str) -> bool:
    """Return whether a request's Host header names this machine.

    A page of another site can let its own name point to this machine (DNS rebinding), and would then read the answers.
    So a name must be localhost, this machine's, or the one given by --host. An IP address is no name.

    Parameters
    ----------
    header : such as "127.0.0.1:8000".
    host : the value of --host.
    """
    try:
        name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name in ("localhost", host.lower(), socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def receive(request: Request, file: IO[bytes]) -> None:
    """Write the content of a request to a file.

    Raises
    ------
    RefusedError
        If it is empty, larger than `MAX_UPLOAD`, or takes longer than `UPLOAD_SECONDS`.
    """
    size = 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= MAX_UPLOAD:
                    file.write(part)
                # A client that still sends would not see the answer, so some more is read.
                if size > MAX_DISCARDED:
                    break
    except TimeoutError as error:
        raise RefusedError(408, f"the file did not come within {UPLOAD_SECONDS} seconds; send it again") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the connection ended before the file did") from error
    if size > MAX_UPLOAD:
        raise RefusedError(413, f"the file is larger than {MAX_UPLOAD / 1e6:g} MB; send a smaller one")
    if not size:
        raise RefusedError(400, "the request has no image; send the bytes of an image file")
    file.flush()


def answer_of(demo: Demo, path: Path) -> dict[str, object]:
    """Return the answer for an image file.

    Raises
    ------
    RefusedError
        If it is not a readable image.
    """
    try:
        return demo.answer(path)
    except UnreadableImageError as error:
        raise RefusedError(415, str(error).replace(str(path), "this file", 1)) from error


def make_app(demo: Demo, host: str) -> FastAPI:
    """Return the application.

    What is received goes to a file, for `UPLOAD_SECONDS` at most: a slow client keeps nobody else waiting. As many
    images as there are CPUs are in memory at once.

    Parameters
    ----------
    demo : makes the answers.
    host : the value of --host.
    """
    # Its pages of documentation load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_checks(app, host)
    _add_files(app)
    _add_answers(app, demo)
    return app


def _add_checks(app: FastAPI, host: str) -> None:
    @app.middleware("http")
    async def check(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if not is_allowed_host(request.headers.get("host", ""), host):
            response: Response = PlainTextResponse("this name is not that of the page; use its IP address\n", 421)
        else:
            response = await answer(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> Response:
        # What is still to come of the request is not read.
        return PlainTextResponse(f"{one_line(error)}\n", error.status, {"Connection": "close"})

    @app.exception_handler(GraftError)
    async def fail(request: Request, error: GraftError) -> Response:
        return PlainTextResponse(f"{one_line(error)}\n", 500)


def _add_files(app: FastAPI) -> None:
    def add(address: str, name: str) -> None:
        @app.get(address)
        async def send() -> FileResponse:
            return FileResponse(PAGE / name)

    for address, name in FILES.items():
        add(address, name)


def _add_answers(app: FastAPI, demo: Demo) -> None:
    threads = ThreadPoolExecutor(usable_cpus())

    @app.get("/model")
    async def describe() -> JSONResponse:
        return JSONResponse(demo.description | {"max_upload": MAX_UPLOAD})

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        origin = request.headers.get("origin")
        # Not by urlsplit, which raises an error at "http://[".
        if origin and origin.partition("://")[2] != request.headers.get("host"):
            raise RefusedError(403, "another site's page must not send images here")
        # The classifier reads files; nothing is left of it afterwards.
        with NamedTemporaryFile(prefix="graft-demo-") as file:
            await receive(request, file)
            loop = asyncio.get_running_loop()
            return JSONResponse(await loop.run_in_executor(threads, answer_of, demo, Path(file.name)))
