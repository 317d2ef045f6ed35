"""bfloat16 is chosen where the processor multiplies it, and nowhere else."""

import pytest

from graft.training.precision import settled


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx2 avx512f avx512_bf16 fma", "bfloat16"),
        ("fpu avx512f amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx2 avx512f avx512bw fma", "float32"),
        # What instructions of ARM are called: TensorFlow on it was not measured.
        ("fp asimd bf16 i8mm", "float32"),
    ],
)
def test_auto_follows_the_instructions_of_the_processor(tmp_path, flags, precision):
    information = tmp_path / "cpuinfo"
    information.write_text(f"processor\t: 0\nmodel name\t: A Chip\nflags\t\t: {flags}\n")
    assert settled("auto", information) == precision


def test_auto_is_float32_where_nothing_is_told_of_the_processor(tmp_path):
    assert settled("auto", tmp_path / "cpuinfo") == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_given_precision_is_kept(precision):
    assert settled(precision) == precision
