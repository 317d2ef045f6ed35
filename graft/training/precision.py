"""What numbers the matrix products of a training step are computed in."""

from pathlib import Path

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# What Linux calls the instructions of x86 processors that multiply bfloat16. Others can only imitate them, slower.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def supported_precision(precision: str, information: Path = Path("/proc/cpuinfo")) -> str:
    """Return ``float32`` or ``bfloat16``: for ``auto`` the latter where the processor multiplies it.

    Parameters
    ----------
    precision : ``auto``, ``float32`` or ``bfloat16``.
    information : what Linux tells of the processor; without it ``auto`` is ``float32``.
    """
    if precision != "auto":
        return precision
    told = set(information.read_text(encoding="utf-8").split()) if information.exists() else set()
    return BFLOAT16 if told & INSTRUCTIONS else FLOAT32
