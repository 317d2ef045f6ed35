"""The devices that share each batch of fine-tuning: one, all of this machine, or those of a cluster.

Each process (worker) has one copy of the weights, which its devices read. Gradients are summed over all devices; then
each worker makes the same update. What else the workers tell each other goes through the same sum. TensorFlow's
strategies do the communication: MirroredStrategy in one process, MultiWorkerMirroredStrategy between several.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property

import numpy as np
import tensorflow as tf

from graft.activations.tensorflow_engine import gpu_names
from graft.core.errors import GraftError, end_at_interrupts, one_line
from graft.core.quiet import hidden
from graft.training.tf_config import Cluster, read_cluster

# How long a worker waits for the others when it starts.
START_SECONDS = 600.0
LENGTH_BYTES = 8
# A program that kills its parent, with a line, if its input stays open for so many seconds. No thread could do that: no
# other thread of Python runs while TensorFlow waits for a cluster.
KILLER = """\
import os, select, sys
if not select.select([0], [], [], float(sys.argv[1]))[0]:
    print(f"error: {sys.argv[2]}", file=sys.stderr, flush=True)
    os.kill(os.getppid(), 9)
"""


class Devices:
    """The devices of all workers, and the place of this worker's own among them.

    Parameters
    ----------
    strategy : what sums over them; None for one device, which needs none.
    cluster : the workers; None for one process.

    Attributes
    ----------
    count : devices of all workers.
    local : devices of this process. Each worker has as many.
    first : the number of the first one of them among all.
    workers : the address of each worker; none for one process.
    chief : whether this process writes the files. Of a cluster, only worker 0 does.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None, cluster: Cluster | None = None) -> None:
        self._strategy = strategy
        self.count: int = strategy.num_replicas_in_sync if strategy else 1
        self.workers: tuple[str, ...] = cluster.workers if cluster else ()
        self._index = cluster.number if cluster else 0
        self.local = self.count // max(1, len(self.workers))
        self.first = self._index * self.local
        self.chief = self._index == 0

    def in_metrics(self) -> dict[str, int]:
        """Return what metrics have about the devices: how many there are; nothing of one."""
        return {"devices": self.count} if self.count > 1 else {}

    def summed(self, function: Callable[[int], tf.Tensor]) -> tf.Tensor:
        """Return the sum of what a function returns for each device, by one all-reduce. Call it in a `tf.function`.

        Parameters
        ----------
        function : from a device's number among all to a float32 tensor, of the same shape on each. It is called for the
            devices of this process, and computes on the device. It must change no variable.
        """
        assert self._strategy  # noqa: S101 - one device has nothing to sum

        def on_device() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            values = function(int(tf.get_static_value(context.replica_id_in_sync_group)))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        # The same on each device.
        return self._strategy.experimental_local_results(self._strategy.run(on_device))[0]

    def differences(self, parts: Mapping[str, str]) -> str:
        """Return what other workers have otherwise than the chief, in words; nothing if all have the same.

        Parameters
        ----------
        parts : hashes by name. Each worker calls this, and gets the same answer.
        """
        parts = {"TF_CONFIG": ", ".join(self.workers)} | dict(parts)
        texts = self._from_each("".join(f"{name}\n{value}\n" for name, value in sorted(parts.items())).encode())
        of_each = [text.decode().splitlines() for text in texts]
        chief, *others = [dict(zip(lines[::2], lines[1::2], strict=True)) for lines in of_each]
        found = []
        for number, other in enumerate(others, start=1):
            if names := sorted(name for name in chief.keys() | other.keys() if chief.get(name) != other.get(name)):
                found.append(f"worker {number} ({self.workers[number]}) has other {', '.join(names)} than worker 0")
        return "; ".join(found)

    def from_chief(self, content: bytes | None) -> bytes | None:
        """Return the chief's content; what the other workers pass does not count."""
        if not self.workers:
            return content
        number = 0 if content is None else len(content) + 1
        length = int.from_bytes(self._from_each(number.to_bytes(LENGTH_BYTES, "big"))[0], "big") - 1
        if length < 0:
            return None
        row = np.frombuffer(content or b"", np.uint8) if self.chief else np.zeros(length, np.uint8)
        return self._total(row).tobytes()

    def _from_each(self, content: bytes) -> list[bytes]:
        """Return the content of each worker, in their order."""
        if not self.workers:
            return [content]
        lengths = self._table(len(content).to_bytes(LENGTH_BYTES, "big"), LENGTH_BYTES)
        numbers = [int.from_bytes(row.tobytes(), "big") for row in lengths]
        return [row.tobytes()[:length] for row, length in zip(self._table(content, max(numbers)), numbers, strict=True)]

    def _table(self, content: bytes, width: int) -> np.ndarray:
        """Return a row for each worker, uint8 (workers, width), with the content that it has passed."""
        table = np.zeros((len(self.workers), width), np.uint8)
        table[self._index, : len(content)] = np.frombuffer(content, np.uint8)
        return self._total(table)

    def _total(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all workers of uint8 arrays of one shape; it must be below 256."""
        return self._sum_of_workers(values.astype(np.float32)).numpy().astype(np.uint8)

    @cached_property
    def _sum_of_workers(self) -> Callable[[np.ndarray], tf.Tensor]:
        # Floats, as gradients are: on a GPU the sum of integers is another matter. Bytes are exact in them.
        return tf.function(
            lambda values: self.summed(lambda number: values * float(number == self.first)), autograph=False
        )


# What TensorFlow raises where a worker is gone, or where those that are there do not fit together.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@cache
def this_process() -> Devices:
    """Return the devices that this process trains on; the first call joins the cluster of TF_CONFIG, if there is one.

    Without TF_CONFIG these are all GPUs that TensorFlow sees, else the CPU. A cluster can be joined only before
    TensorFlow computes anything.

    Raises
    ------
    GraftError
        If TF_CONFIG is wrong, or its cluster cannot be joined.
    """
    if cluster := read_cluster(os.environ.get("TF_CONFIG", "")):
        return joined(cluster)
    gpu_names()
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) == 1:
        return Devices()
    names = [device.name for device in found]
    print(f"{len(names)} devices share each batch: {', '.join(names)}", flush=True)
    with hidden():
        return Devices(tf.distribute.MirroredStrategy(names))


def joined(cluster: Cluster, seconds: float = START_SECONDS) -> Devices:
    """Return the devices of a cluster, when all of its workers are there.

    Parameters
    ----------
    cluster : from TF_CONFIG.
    seconds : to wait for the others. Then the process is killed, with a line.
    """
    address = cluster.workers[cluster.number]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.number,
        num_accelerators={"GPU": len(gpu_names())},
        rpc_layer="grpc",
    )
    print(f"worker {cluster.number} of {', '.join(cluster.workers)}: waiting for the others", flush=True)
    # Python does not see Ctrl+C while TensorFlow waits.
    end_at_interrupts()
    message = (
        f"TF_CONFIG: of {', '.join(cluster.workers)} not all have joined after {seconds:.0f} seconds; start the stage "
        "on each, with its own index and the same list"
    )
    with _ending_after(seconds, message):
        try:
            with hidden():
                devices = Devices(tf.distribute.MultiWorkerMirroredStrategy(resolver), cluster)
                found = devices.differences({})
        except (tf.errors.OpError, RuntimeError) as error:
            reason = one_line(str(error).strip().splitlines()[0])
            raise GraftError(
                f"TF_CONFIG: worker {cluster.number} cannot join its cluster as {address} ({reason}); each "
                "needs a free port, the same list and as many GPUs as the others"
            ) from error
    if found:
        raise GraftError(f"TF_CONFIG: {found}; each worker needs the same list of addresses")
    print(f"{devices.count} devices of {len(cluster.workers)} workers share each batch", flush=True)
    return devices


@contextmanager
def _ending_after(seconds: float, message: str) -> Iterator[None]:
    """Kill the process, with a line, if the block has not ended after so many seconds."""
    command = [sys.executable, "-S", "-c", KILLER, str(seconds), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        # The end of the block closes the pipe, and so does the end of this process.
        yield


@contextmanager
def losing_none() -> Iterator[None]:
    """End in one line if another worker ends or cannot be reached while the block runs.

    Raises
    ------
    GraftError
        If TensorFlow reports it, which takes a few seconds.
    """
    try:
        yield
    except LOST as error:
        devices = this_process()
        if not devices.workers:
            raise
        raise GraftError(
            f"TF_CONFIG: a worker of {', '.join(devices.workers)} has ended or cannot be reached "
            f"({type(error).__name__}); see why, then start all of them again"
        ) from error
