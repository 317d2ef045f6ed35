"""Running the two sides of a comparison in turn: processes, their time and peak memory, and the ratios of pairs.

This module imports no part of Graft and no TensorFlow: the process that measures stays small, and the Keras side runs
as a user of Keras runs it.
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

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"
MIB = 1 << 20
SAMPLE_SECONDS = 0.05
SAMPLES_A_LISTING = 10
# Variables with these prefixes could change what a side does: they are not passed on.
REMOVED = ("GIT_", "DVC_", "GRAFT_", "PYTHON", "TF_", "KERAS_", "MAKE", "MFLAGS")
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
ONEDNN_GREETING = "oneDNN custom operations are on"


class Run(NamedTuple):
    """The seconds of a process by the clock, the peak memory of the process with all its children, and its output.

    `peak_mib` counts all resident memory, `private_mib` all of it but mapped files, each in MiB.
    """

    seconds: float
    peak_mib: float
    private_mib: float
    output: str = ""


class Watch(threading.Thread):
    """Samples the memory of a process and its children twenty times a second, and keeps the largest sums."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.peak_mib = self.private_mib = 0.0
        self._pid = pid
        self._ended = threading.Event()

    def run(self) -> None:
        for sample in count():
            # Finding the children means reading the list of all processes. At every sample, that would slow the sides.
            if sample % SAMPLES_A_LISTING == 0:
                family = _family(self._pid)
            self._sample(family)
            if self._ended.wait(SAMPLE_SECONDS):
                return

    def stop(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()

    def _sample(self, family: Sequence[psutil.Process]) -> None:
        resident = shared = 0
        for process in family:
            # A process that has ended raises an error and counts nothing.
            with suppress(psutil.Error):
                memory = process.memory_info()
                resident += memory.rss
                # Pages of files; only Linux tells them apart.
                shared += getattr(memory, "shared", 0)
        peaks = [_peak_of_process_mib(process.pid) for process in family]
        self.peak_mib = max([self.peak_mib, resident / MIB, *peaks])
        self.private_mib = max(self.private_mib, (resident - shared) / MIB)


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def _peak_of_process_mib(pid: int) -> float:
    """Return the peak memory of one process since its program began; 0 where the system does not give it.

    Not ru_maxrss: for a child process that begins with the parent's memory.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a side: the caller's without the variables of `REMOVED`, with this Python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(REMOVED)}
    path = os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ.get("PATH", "")])
    return kept | {"PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "DVC_NO_ANALYTICS": "1"} | variables


def run(command: Sequence[object], within: Path = ROOT, **variables: str) -> Run:
    """Run a command to its end; return its seconds, memory and output.

    Raises
    ------
    RuntimeError
        If it fails; the message ends with its last output.
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
    """Call each side once in each pair, in alternating order; return the runs of each side."""
    took: dict[str, list[Run]] = {side: [] for side in sides}
    for pair in range(pairs):
        for side in sorted(sides, reverse=pair % 2 == 0):
            took[side].append(sides[side]())
            print(f"  {side:14s} {took[side][-1].seconds:8.2f} s, peak {took[side][-1].peak_mib:6.0f} MiB", flush=True)
    return took


class Turns:
    """In the process of a side: waits for its turn, then reports how long its piece of work took."""

    def wait(self) -> None:
        """Wait for this side's turn, and start the clocks."""
        sys.stdin.readline()
        self._begin = time.perf_counter(), time.process_time()

    def done(self) -> None:
        """Report the piece's seconds, its processor seconds and the peak memory so far; wait for the next turn."""
        wall, processor = self._begin
        report = {
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - processor,
            "peak_mib": _peak_of_process_mib(os.getpid()),
        }
        print(json.dumps(report), flush=True)
        self.wait()


class Worker:
    """In the process that measures: a side that runs piece by piece, one in each turn."""

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
        """Let it run a piece; return what `Turns.done` reports."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self._process.args} ended with status {status}\n{self._errors.read()[-2000:]}")

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate("\n")
        self._errors.close()


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Return how many times as long the other side took, for each pair."""
    return [other / own for other, own in zip(theirs, ours, strict=True)]


def keras_sides() -> dict[str, dict[str, str]]:
    """Return the ways to run Keras, with their variables: as it comes, and with oneDNN turned on where it is off."""
    sides = {"keras": {}}
    return sides if onednn_is_default() else sides | {"keras, oneDNN": {ONEDNN: "1"}}


def onednn_is_default() -> bool:
    """Return whether TensorFlow, as it comes, uses oneDNN on this processor: it prints that when it is imported."""
    imported = run([sys.executable, "-c", "import tensorflow"], TF_CPP_MIN_LOG_LEVEL="0")
    return ONEDNN_GREETING in imported.output


def onednn_note(side: str) -> str:
    """Return the words of the table on one of `keras_sides`."""
    return ", oneDNN turned on" if "oneDNN" in side else ", as it comes"


def parser(text: str | None, images: int = 3670, pairs: int = 3) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    options = argparse.ArgumentParser(description=(text or "").splitlines()[0] if text else None)
    options.add_argument("--archive", type=Path, help="a .tar of class folders of .jpg (default: generated images)")
    options.add_argument("--weights", type=Path, help="weights of MobileNetV2 without top (default: random)")
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
