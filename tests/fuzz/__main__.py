"""Looks for inputs that end in neither a result nor one line: cd tests; python -m fuzz --seconds 120.

Each target runs in a process of its own, so that a crash of a library is found too. A fault is shrunk by hypothesis and
written to corpus/, where tests/test_fuzz_corpus.py fails until it is mended. Exit status 1 if there was one.
"""

import argparse
import hashlib
import resource
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.targets import CORPUS, TARGETS, read

# Numbers at the borders of what fits, and text that has made a parser fail before.
PIECES = [
    *(number.to_bytes(size, order) for size in (1, 2, 4, 8) for order in ("little", "big")
      for number in (0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)),
    b"0x_", b"2024-13-45", b"!!int abc", b"9" * 5000, b"[" * 3000, b".nan", b"-.inf", b"1e400", b"null", b"[]", b"{}",
    b"true", b"-1", b"''", b"&a [*a]", b"!!python/object:x.y {}", b"\xff\xfe", b"\n", b"\t", b'"', b"../", b"/", b"%s",
]  # fmt: skip
EXAMPLES_A_ROUND = 300
ADDRESS_SPACE = 12 * 10**9


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """Draw one of the whole inputs with up to six changes."""
    data = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 4, 8, 64, 10**9])))
        kind = draw(st.sampled_from(["piece", "bytes", "flip", "cut", "repeat", "other"]))
        if kind == "piece":
            new = draw(st.sampled_from(PIECES))
        elif kind == "bytes":
            new = draw(st.binary(max_size=8))
        elif kind == "flip":
            new = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[start:end][:8]) + data[start + 8 : end]
        elif kind == "cut":
            new = b""
        elif kind == "repeat":
            new = data[start:end][:1000] * draw(st.integers(2, 20))
        else:
            other = draw(st.sampled_from(whole))
            new = other[draw(st.integers(0, len(other))) :][:1000]
        data = data[:start] + new + data[end:]
    return data


def place(error: BaseException) -> str:
    """Return what tells one fault from another: its type, and the last line of our own code."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "/graft/" in frame.filename]
    where = f"{own[-1].filename.rpartition('/graft/')[2]}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {where}"


def keep(target: str, data: bytes, reason: str) -> None:
    """Write an input to the corpus and say so."""
    path = CORPUS / target / f"fault-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"{target}: {reason}: {path.name}, {len(data)} bytes", flush=True)


def search(target: str, seconds: float, start: int, folder: Path) -> int:
    """Search in this process; return how many different faults there were."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    whole = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    end, known, rounds, tried = time.monotonic() + seconds, set(), 0, 0
    last, reason = b"", ""
    while time.monotonic() < end:

        @seed(start + rounds)
        @settings(
            max_examples=EXAMPLES_A_ROUND, deadline=None, database=None, report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck), print_blob=False,
        )  # fmt: skip
        @given(damaged(whole))
        def check(data: bytes) -> None:
            nonlocal last, reason, tried
            if time.monotonic() > end:
                return
            tried += 1
            try:
                read(target, data, folder)
            except Exception as error:
                if (where := place(error)) not in known:
                    last, reason = data, f"{where}: {' '.join(str(error).split())[:100]}"
                    raise

        try:
            check()
        # Whatever it is: the fault itself, or that hypothesis had no time to make it smaller.
        except Exception:  # noqa: BLE001
            known.add(reason.partition(": ")[0])
            # The last failing input is the smallest one.
            keep(target, last, reason)
        rounds += 1
    print(f"{target}: {tried} inputs, {len(known)} faults, seed {start}", flush=True)
    return len(known)


def main() -> int:
    """Search for faults of each target in turn, each in a new process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120, help="of all targets together")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--folder", type=Path, help="search one target in this process, with this working folder")
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    if arguments.folder:
        return 1 if search(targets[0], arguments.seconds, arguments.seed, arguments.folder) else 0
    failed = False
    for target in targets:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "work")
            command = [sys.executable, "-m", "fuzz", "--target", target, "--folder", str(folder)]
            command += ["--seconds", str(arguments.seconds / len(targets)), "--seed", str(arguments.seed)]
            status = subprocess.run(command, check=False).returncode
            if status < 0:
                keep(target, (folder / "input").read_bytes(), f"the process died of signal {-status}")
        failed |= status != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
