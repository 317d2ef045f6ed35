"""Reads TF_CONFIG: the environment variable that gives TensorFlow the addresses of a cluster."""

import json
from typing import Any, NamedTuple

from graft.core.errors import GraftError

EXAMPLE = '{"cluster": {"worker": ["HOST:2222", "OTHER:2222"]}, "task": {"type": "worker", "index": 0}}'
# The jobs of a cluster whose workers train together; TensorFlow has others, which do something else.
JOBS = ("chief", "worker")
LARGEST_PORT = 65_535


class Cluster(NamedTuple):
    """The workers of a cluster, the chief first, and the number of this process among them.

    Attributes
    ----------
    workers : the address of each, "host:port"; at least two.
    number : from 0, the chief.
    """

    workers: tuple[str, ...]
    number: int


def read_cluster(text: str) -> Cluster | None:
    """Return the cluster that TF_CONFIG describes; None if there is no other worker.

    The chief is the task of the job "chief", or else worker 0, as in TensorFlow.

    Parameters
    ----------
    text : JSON, as https://www.tensorflow.org/guide/distributed_training describes it; empty if it is not set.

    Raises
    ------
    GraftError
        If it is not such JSON, or names a task that the cluster does not have.
    """
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _fault(f"not JSON ({error})") from error
    cluster = _dictionary(config, "cluster")
    task = _dictionary(config, "task")
    if others := sorted(cluster.keys() - set(JOBS)):
        raise _fault(f"cluster has the job {others[0]!r}; only {' and '.join(JOBS)} train")
    addresses = {job: _addresses(job, cluster[job]) for job in JOBS if job in cluster}
    workers = tuple(address for job in addresses for address in addresses[job])
    if len(set(workers)) < len(workers):
        raise _fault(f"cluster has the address {max(workers, key=workers.count)!r} twice")
    job, index = task.get("type"), task.get("index")
    if job not in list(addresses):
        raise _fault(f"task type is {job!r}; cluster has {list(addresses)}")
    if type(index) is not int or not 0 <= index < len(addresses[job]):
        raise _fault(f"task index is {index!r}; cluster has {len(addresses[job])} of the type {job!r}, counted from 0")
    return Cluster(workers, workers.index(addresses[job][index])) if len(workers) > 1 else None


def _dictionary(config: Any, key: str) -> dict[str, Any]:
    if not isinstance(config, dict) or key not in config:
        raise _fault(f"no {key!r}")
    if not isinstance(config[key], dict) or not config[key]:
        raise _fault(f"{key} is {config[key]!r}")
    return config[key]


def _addresses(job: str, found: Any) -> list[str]:
    if not isinstance(found, list) or not found or not all(isinstance(address, str) for address in found):
        raise _fault(f"{job} of the cluster is {found!r}, no list of addresses")
    for address in found:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= LARGEST_PORT:
            raise _fault(f"{address!r} is no address with a port")
    if job == "chief" and len(found) > 1:
        raise _fault(f"cluster has {len(found)} chiefs, not one")
    return found


def _fault(found: str) -> GraftError:
    return GraftError(f"TF_CONFIG: {found}; it must be like {EXAMPLE}")
