"""The number format of the matrix products in a training step."""

from pathlib import Path

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# Linux's names for the instructions of x86 processors that multiply bfloat16. Without them bfloat16 is slower.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def supported_precision(precision: str, processor: Path = Path("/proc/cpuinfo")) -> str:
    """Return ``float32`` or ``bfloat16``; for ``auto``, bfloat16 where the processor has instructions for it.

    Parameters
    ----------
    precision : ``auto``, ``float32`` or ``bfloat16``.
    processor : the file in which Linux describes the processor; where there is none, ``auto`` is ``float32``.
    """
    if precision != "auto":
        return precision
    flags = set(processor.read_text(encoding="utf-8").split()) if processor.exists() else set()
    return BFLOAT16 if flags & INSTRUCTIONS else FLOAT32
