"""The number format of the matrix products in a training step, and what decides about it: the GPU or the processor."""

import platform
from pathlib import Path

from graft.core.errors import GraftError

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
# Linux's names for the instructions of x86 processors that multiply bfloat16. Without them bfloat16 is slower.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
# Those that decide how TensorFlow and LiteRT round: results are the same to the bit only where these are.
ROUNDING = ("avx2", "fma", "avx512f", *sorted(INSTRUCTIONS))
PROCESSOR = Path("/proc/cpuinfo")


def supported_precision(precision: str, processor: Path = PROCESSOR, gpu: str | None = None) -> str:
    """Return the number format in place of ``auto``: on a CPU bfloat16 where it has instructions for it, else float32.

    Parameters
    ----------
    precision : ``auto``, ``float32``, ``bfloat16`` or ``float16``.
    processor : the file in which Linux describes the processor; where there is none, ``auto`` is ``float32``.
    gpu : the name of the GPU that trains, None for a CPU.

    Raises
    ------
    GraftError
        If it is float16 without a GPU.
    """
    if precision == FLOAT16 and not gpu:
        raise GraftError(
            "fine_tune.precision: float16 needs a GPU, and TensorFlow sees none; set auto, float32 or bfloat16"
        )
    if precision != "auto":
        return precision
    return BFLOAT16 if not gpu and _flags(processor) & INSTRUCTIONS else FLOAT32


def processor_kind(processor: Path = PROCESSOR) -> str:
    """Return the kind of this processor by its instructions, such as "x86_64 with avx2, fma".

    Parameters
    ----------
    processor : the file in which Linux describes the processor.
    """
    flags = _flags(processor)
    found = ", ".join(name for name in ROUNDING if name in flags)
    return f"{platform.machine()} with {found}" if found else platform.machine()


def used_numbers(precision: str, gpu: str | None = None) -> dict[str, str]:
    """Return what metrics/fine_tune.json has about a run's numbers: their format, the kind of processor, and the GPU.

    Parameters
    ----------
    precision, gpu : as for `supported_precision`.
    """
    used = {"precision": supported_precision(precision, gpu=gpu), "processor": processor_kind()}
    return used | ({"device": gpu} if gpu else {})


def _flags(processor: Path) -> set[str]:
    return set(processor.read_text(encoding="utf-8").split()) if processor.exists() else set()
