"""What the benchmarks share: processes that take turns, their time and peak memory, the figures of pairs.

No part of Graft and no TensorFlow is imported here: the process that measures stays small, and the other side runs as
a user of Keras runs it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
MIB = 1 << 20
SAMPLE_SECONDS = 0.05
LOOKS_A_CENSUS = 10
# Of the caller's environment, what would change either side.
FOREIGN = ("GIT_", "DVC_", "GRAFT_", "PYTHON", "TF_", "KERAS_", "MAKE", "MFLAGS")
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
ONEDNN_GREETING = "oneDNN custom operations are on"


class Run(NamedTuple):
    """What a process took, with all its children: wall seconds, and at the worst moment its memory in MiB.

    `peak_mib` is all that is resident; `private_mib` leaves out what maps a file, such as a features.npy being written.
    """

    seconds: float
    peak_mib: float
    private_mib: float
    output: str = ""


class Watch(threading.Thread):
    """Looks twenty times a second at the memory of a process and its children, and keeps the largest sums."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.peak_mib = self.private_mib = 0.0
        self._pid = pid
        self._ended = threading.Event()

    def run(self) -> None:
        for look in count():
            # To find children the whole list of processes is read; at every look, the sides would feel that.
            if look % LOOKS_A_CENSUS == 0:
                family = _family(self._pid)
            self._look(family)
            if self._ended.wait(SAMPLE_SECONDS):
                return

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    def _look(self, family: Sequence[psutil.Process]) -> None:
        resident = shared = 0
        for process in family:
            # Those that ended meanwhile hold nothing any more.
            with suppress(psutil.Error):
                memory = process.memory_info()
                resident += memory.rss
                # Of Linux alone: pages of files.
                shared += getattr(memory, "shared", 0)
        marks = [_high_water_mib(process.pid) for process in family]
        self.peak_mib = max([self.peak_mib, resident / MIB, *marks])
        self.private_mib = max(self.private_mib, (resident - shared) / MIB)


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def _high_water_mib(pid: int) -> float:
    """Return the most that one process ever held since it began its program; 0 where the system does not tell.

    Not ru_maxrss: that of a child starts at what its parent held.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a side: the caller's without what would change it, with this Python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ.get("PATH", "")])
    return kept | {"PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "DVC_NO_ANALYTICS": "1"} | variables


def run(command: Sequence[object], within: Path = ROOT, **variables: str) -> Run:
    """Run a command to its end and return what it took.

    Raises
    ------
    RuntimeError
        If it fails; the message ends with what it printed last.
    """
    with tempfile.TemporaryFile("w+") as printed:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=within,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        watch = Watch(process.pid)
        watch.start()
        process.wait()
        seconds = time.perf_counter() - begin
        watch.stop()
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: status {process.returncode}\n{output[-2000:]}")
    return Run(seconds, watch.peak_mib, watch.private_mib, output)


def python(module: str, *arguments: object, within: Path = ROOT, **variables: str) -> Run:
    """Run a module of this repository as `python -m`, from any folder."""
    return run([sys.executable, "-m", module, *arguments], within, PYTHONPATH=str(ROOT), **variables)


def in_turn(sides: Mapping[str, Callable[[], Run]], pairs: int) -> dict[str, list[Run]]:
    """Call each side once in each pair, in an order that alternates; return what each call took."""
    took: dict[str, list[Run]] = {side: [] for side in sides}
    for pair in range(pairs):
        for side in sorted(sides, reverse=pair % 2 == 0):
            took[side].append(sides[side]())
            print(f"  {side:14s} {took[side][-1].seconds:8.2f} s, peak {took[side][-1].peak_mib:6.0f} MiB", flush=True)
    return took


class Turns:
    """A side's end of a pipe: waits for its turn, then tells how long its piece of work took."""

    def wait(self) -> None:
        """Wait until it is this side's turn, and start the clocks."""
        sys.stdin.readline()
        self._begin = time.perf_counter(), time.process_time()

    def done(self) -> None:
        """Tell the piece's seconds, the processor's seconds and the peak memory so far; wait for the next turn."""
        wall, processor = self._begin
        told = {
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - processor,
            "peak_mib": _high_water_mib(os.getpid()),
        }
        print(json.dumps(told), flush=True)
        self.wait()


class Worker:
    """The other end: a module that runs piece by piece, when told to."""

    def __init__(self, module: str, *arguments: object, **variables: str):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(**variables),
        )

    def turn(self) -> dict[str, float]:
        """Let it run a piece; return what it tells."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self._process.args} ended with status {status}\n{self._errors.read()[-2000:]}")

    def end(self) -> None:
        """Let it end."""
        self._process.communicate("\n")
        self._errors.close()


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Return how many times longer the other side took, for each pair."""
    return [other / own for other, own in zip(theirs, ours, strict=True)]


def keras_sides() -> dict[str, dict[str, str]]:
    """Return the variables of each way to run Keras: as it comes and, where that leaves oneDNN off, with it on."""
    sides = {"keras": {}}
    return sides if onednn_is_default() else sides | {"keras, oneDNN": {ONEDNN: "1"}}


def onednn_is_default() -> bool:
    """Say whether TensorFlow, as it comes, uses oneDNN on this processor; it says so when it is imported."""
    told = run([sys.executable, "-c", "import tensorflow"], TF_CPP_MIN_LOG_LEVEL="0")
    return ONEDNN_GREETING in told.output


def said_of(side: str) -> str:
    """Return what the table says of one of `keras_sides`."""
    return ", oneDNN turned on" if "oneDNN" in side else ", as it comes"


def parser(text: str | None, images: int = 3670, pairs: int = 3) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    options = argparse.ArgumentParser(description=(text or "").splitlines()[0] if text else None)
    options.add_argument("--archive", type=Path, help="a .tar of class folders of .jpg (default: generated images)")
    options.add_argument("--weights", type=Path, help="weights of MobileNetV2 without top (default: drawn at random)")
    options.add_argument("--images", type=_count, default=images, help="images used (default %(default)s)")
    options.add_argument("--pairs", type=_count, default=pairs, help="runs of each side (default %(default)s)")
    options.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures (default: tracked one)")
    return options


def parsed(options: argparse.ArgumentParser, given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; paths become absolute, and a file that does not exist is an error."""
    read = options.parse_args(given)
    for name in ("archive", "weights"):
        path = getattr(read, name)
        if path is not None and not path.is_file():
            options.error(f"--{name}: no file {path}")
        setattr(read, name, path and path.resolve())
    return read


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few, give 1 or more")
    return number


def middle(runs: Sequence[Run]) -> float:
    """Return the median of the seconds."""
    return median(run.seconds for run in runs)


def peak(runs: Sequence[Run]) -> float:
    """Return the largest peak, in MiB."""
    return max(run.peak_mib for run in runs)
