"""The number format of the matrix products in a training step, and the kind of processor that decides about it."""

import platform
from pathlib import Path

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# Linux's names for the instructions of x86 processors that multiply bfloat16. Without them bfloat16 is slower.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
# Those that decide how TensorFlow and LiteRT round: results are the same to the bit only where these are.
ROUNDING = ("avx2", "fma", "avx512f", *sorted(INSTRUCTIONS))
PROCESSOR = Path("/proc/cpuinfo")


def supported_precision(precision: str, processor: Path = PROCESSOR) -> str:
    """Return ``float32`` or ``bfloat16``; for ``auto``, bfloat16 where the processor has instructions for it.

    Parameters
    ----------
    precision : ``auto``, ``float32`` or ``bfloat16``.
    processor : the file in which Linux describes the processor; where there is none, ``auto`` is ``float32``.
    """
    if precision != "auto":
        return precision
    return BFLOAT16 if _flags(processor) & INSTRUCTIONS else FLOAT32


def processor_kind(processor: Path = PROCESSOR) -> str:
    """Return the kind of this processor by its instructions, such as "x86_64 with avx2, fma".

    Parameters
    ----------
    processor : the file in which Linux describes the processor.
    """
    flags = _flags(processor)
    found = ", ".join(name for name in ROUNDING if name in flags)
    return f"{platform.machine()} with {found}" if found else platform.machine()


def used_numbers(precision: str) -> dict[str, str]:
    """Return what metrics/fine_tune.json has about a run's numbers: their format, and the kind of processor."""
    return {"precision": supported_precision(precision), "processor": processor_kind()}


def _flags(processor: Path) -> set[str]:
    return set(processor.read_text(encoding="utf-8").split()) if processor.exists() else set()
