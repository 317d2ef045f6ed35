"""The engine `ray`: blocks of images through the compiled network on all CPUs of a Ray cluster.

Ray places the blocks, replaces workers and nodes that die, and runs their blocks again. They are stateless tasks, not
actors: a task is not bound to a process, so that it cannot wait for an actor whose node is gone. Each worker process
keeps its interpreter, with one thread, from task to task.

The driver reads the image files and sends their bytes with the block: the workers need no shared file system, and see
exactly the files that the driver sees. The bytes of a block are bounded, and so is the number of blocks that the driver
has sent.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np

from graft.activations.litert import Network
from graft.activations.ray_worker import OtherVersionsError, run_block, versions
from graft.activations.requests import Pixels, Request, Row, by_image
from graft.core.errors import GraftError, one_line
from graft.core.packages import require
from graft.core.quiet import hidden
from graft.core.threads import usable_cpus
from graft.images import loader
from graft.images.decoder import UnreadableImageError

ADDRESS = "RAY_ADDRESS"
# A block: views, and bytes of image files.
BLOCK_VIEWS, BLOCK_BYTES = 64, 8 * 10**6
# Blocks that are sent and not yet taken back, for each CPU of the cluster.
BLOCKS_PER_CPU = 2
# How often Ray runs a block again whose worker or node has died.
RETRIES = 2
# Seconds without any finished block after which the run ends, and for the first answer of a cluster.
PATIENCE, CONNECT = 300.0, 5.0

# The requests of each image.
Block = list[list[Request]]


class OnRay:
    """A compiled network on the workers of a Ray cluster; what `engines.Engine` says.

    The cluster is that at $RAY_ADDRESS, or else one on this machine that ends with this process.

    Parameters
    ----------
    files : the compiled networks, a chain.
    engine : its name.

    Raises
    ------
    GraftError
        If a file is missing or not a compiled network, or Ray is not installed.
    """

    def __init__(self, files: Sequence[Path], engine: str = f"{Network.engine} on Ray") -> None:
        require("extract.engine", ("ray",), "ray")
        self._files = files
        self.sha256: Sequence[str] = Network(*files).sha256
        self.engine = engine

    def rows(self, outputs: Sequence[str], pixels: Pixels, requests: Iterable[Request]) -> Iterator[Row]:
        """Yield each request with its outcome, as `Engine` says.

        Raises
        ------
        GraftError
            If the cluster cannot be reached, has other versions, or does no block for `PATIENCE` seconds.
        """
        images = by_image(requests)
        first = next(images, None)
        if first is None:
            return
        connect()
        import ray

        # In shared memory, once for each node.
        models = ray.put([np.fromfile(file, np.uint8) for file in self._files])
        expected = versions()
        task: Any = ray.remote(run_block).options(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")

        def submit(block: Block) -> Any:
            contents = [(of_image, _content(of_image[0].path)) for of_image in block]
            return task.remote(models, self.sha256, outputs, pixels, expected, contents)

        for rows in _Blocks(submit).results(_blocks(chain([first], images))):
            yield from rows


class _Blocks:
    """Blocks on their way through the cluster.

    Parameters
    ----------
    submit : sends a block; returns Ray's reference of its rows.
    """

    def __init__(self, submit: Callable[[Block], Any]) -> None:
        self._submit = submit
        self._waiting: deque[tuple[Any, Block]] = deque()
        self._done: dict[Any, list[Row]] = {}

    def results(self, blocks: Iterable[Block]) -> Iterator[list[Row]]:
        """Yield the rows of each block, in order.

        Where the caller stops before, the blocks on their way end with its process. `ray.cancel` could abort that
        process: where a task has just finished, Ray 2.60 fails a check of its own (as in ray#54785).
        """
        for block in blocks:
            self._waiting.append((self._submit(block), block))
            while len(self._waiting) >= self._most():
                yield self._next()
        while self._waiting:
            yield self._next()

    def _most(self) -> int:
        import ray

        # Nodes come and go.
        resources = cast("Any", ray).cluster_resources()
        return max(1, BLOCKS_PER_CPU * int(resources.get("CPU", 0)))

    def _next(self) -> list[Row]:
        """Wait for the first block; take what else is finished meanwhile, for its node may die."""
        first, _ = self._waiting[0]
        while first not in self._done:
            self._take([reference for reference, _ in self._waiting if reference not in self._done])
        self._waiting.popleft()
        return self._done.pop(first)

    def _take(self, open_references: list[Any]) -> None:
        import ray

        blocks = dict(self._waiting)
        finished, _ = ray.wait(open_references, timeout=PATIENCE)
        if not finished:
            raise GraftError(
                f"{_cluster()}: it has finished no block of images for {PATIENCE:g} seconds; look at `ray status`, "
                "then run again: what is stored is not computed again"
            )
        for reference in finished:
            try:
                self._done[reference] = ray.get(reference, timeout=PATIENCE)
            except (ray.exceptions.RayError, ImportError) as error:
                self._done[reference] = self._one_by_one(blocks[reference], error)

    def _one_by_one(self, block: Block, error: Exception) -> list[Row]:
        """Return the rows of a block that failed: where an image ends its worker each time, why.

        Raises
        ------
        GraftError
            If the fault is not that of an image.
        """
        import ray

        if not isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.OutOfMemoryError):
            raise _fault(error) from error
        rows: list[Row] = []
        for of_image in block:
            try:
                rows += ray.get(self._submit([of_image]), timeout=PATIENCE)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                reason = UnreadableImageError(f"{of_image[0].path}: each worker of Ray that decodes it ends; remove it")
                rows += [(request, reason) for request in of_image]
            except ray.exceptions.RayError as fault:
                raise _fault(fault) from fault
        return rows


def connect() -> None:
    """Connect this process to the cluster at $RAY_ADDRESS, or start one on this machine with a worker for each CPU.

    Raises
    ------
    GraftError
        If there is no cluster, or not one that this version of Ray and Python can work with.
    """
    # Ray would report to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get(ADDRESS, "")
    if address:
        _require_answer(address)
    local: dict[str, Any] = {"address": "local", "num_cpus": usable_cpus(), "include_dashboard": False}
    options = {"address": address} if address else local
    try:
        with hidden():
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray raises Exception itself where a node starts too slowly
        raise GraftError(
            f"{_cluster()}: this machine cannot join it ({_short(error)}); `ray start --address=...` makes it a node, "
            "with the Ray and the Python of the cluster"
        ) from error


def _require_answer(address: str) -> None:
    """Check that something answers at an address: Ray itself would try for a minute, and then end the process."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise GraftError(f"{ADDRESS}: {address!r} is no address of a cluster; give host:port, as `ray start` shows it")
    import grpc

    try:
        # Refused at once; a gRPC channel would try again.
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
        # Another server than Ray's may listen there.
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(CONNECT)
    except (OSError, OverflowError, grpc.FutureTimeoutError) as error:
        raise GraftError(
            f"{ADDRESS}: no cluster answers at {address} ({_short(error)}); start one by `ray start --head`, or unset "
            f"{ADDRESS} for one on this machine"
        ) from error


def _blocks(images: Iterable[list[Request]]) -> Iterator[Block]:
    """Yield images in blocks; one with very many views is in several."""
    block: Block = []
    views = size = 0
    for of_image in images:
        length = loader.content_size(of_image[0].path)
        for start in range(0, len(of_image), BLOCK_VIEWS):
            requests = of_image[start : start + BLOCK_VIEWS]
            if block and (views + len(requests) > BLOCK_VIEWS or size + length > BLOCK_BYTES):
                yield block
                block, views, size = [], 0, 0
            block.append(requests)
            views, size = views + len(requests), size + length
    if block:
        yield block


def _content(path: Path) -> bytes | UnreadableImageError:
    try:
        return loader.content(path)
    except UnreadableImageError as error:
        return error


def _fault(error: Exception) -> GraftError:
    """Return one line about a fault of the cluster."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, OtherVersionsError):
        return GraftError(
            f"{_cluster()}: a worker has other versions than this machine ({cause}); install the same on every machine"
        )
    if isinstance(cause, ImportError) or "import" in str(cause).splitlines()[0].lower():
        return GraftError(
            f"{_cluster()}: a worker lacks Graft ({_short(cause)}); install the same version on every machine"
        )
    return GraftError(f"{_cluster()}: a worker failed ({_short(cause)}); what is stored is not computed again")


def _cluster() -> str:
    address = os.environ.get(ADDRESS)
    return f"{ADDRESS}: {address}" if address else "extract.engine: Ray's cluster on this machine"


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return one_line(lines[-1].strip())[:200]
