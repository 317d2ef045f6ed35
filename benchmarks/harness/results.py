"""The figures of the benchmarks, in benchmarks/results/: a folder for each processor, with a file for each benchmark.

`benchmarks.report` makes a table of each folder.
"""

import argparse
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "dvc", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    claim, against : what was measured, and what it was compared with.
    kind : how to read `wanted` and `measured`; a key of `benchmarks.report.KINDS`.
    wanted : the limit that the figure should keep; None where there is none.
    measured : a figure for each pair.
    seconds, peak_mib : the median time and the largest memory, of Graft and then of the other side; may be empty.
    at_least : the other side had not ended, so that the figure is a lower bound.
    note : what else a reader must know.
    """

    claim: str
    against: str
    kind: str
    wanted: float | None
    measured: Sequence[float]
    seconds: Sequence[float] = ()
    peak_mib: Sequence[float] = ()
    at_least: bool = False
    note: str = ""


def machine() -> dict[str, object]:
    """Return what kind of machine this is, without its name."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor(information: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's model and whether it has AVX-512, if the system gives them."""
    if not information.is_file():
        return platform.processor() or platform.machine()
    facts = dict(_facts(information.read_text(encoding="utf-8", errors="replace")))
    if not facts.keys() >= {"model name", "cpu family", "model", "flags"}:
        return platform.machine()
    avx512 = "with" if "avx512f" in facts["flags"].split() else "without"
    return f"{facts['model name']} (family {facts['cpu family']} model {facts['model']}), {avx512} AVX-512"


def folder_name(processor: str) -> str:
    """Return the folder's name for a processor: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")


def _facts(text: str) -> list[tuple[str, str]]:
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return [(key.strip(), value.strip()) for key, value in lines]


def versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def conditions(options: argparse.Namespace) -> dict[str, object]:
    """Return the images and weights of the measurement, without any path."""
    return {
        "images": options.images,
        "photographs": "of an archive" if options.archive else "generated",
        "weights": "of a file" if options.weights else "at random",
    }


def write(name: str, options: argparse.Namespace, rows: Sequence[Row], gpu: str | None = None) -> Path:
    """Write the figures of a benchmark in place of earlier ones; return the path of the file.

    It is `options.results`/PROCESSOR/NAME.json, or `options.results`/NAME.json where a GPU was measured.
    """
    written = {
        "benchmark": name,
        "conditions": conditions(options),
        "machine": machine() | ({"gpu": gpu} if gpu else {}),
        "versions": versions(),
        "rows": [_rounded(asdict(row)) for row in rows],
    }
    path = options.results / ("" if gpu else folder_name(written["machine"]["processor"])) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_bytes((json.dumps(written, indent=2) + "\n").encode("utf-8"))
    os.replace(beside, path)
    return path


def _rounded(value: object) -> object:
    """Return the same with all floats rounded to four digits: further digits are noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
