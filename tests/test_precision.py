"""bfloat16 is chosen on processors that have instructions for it, and on no others; float16 needs a GPU."""

import platform

import pytest

from graft.core.errors import GraftError
from graft.training.precision import processor_kind, supported_precision, used_numbers


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx2 avx512f avx512_bf16 fma", "bfloat16"),
        ("fpu avx512f amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx2 avx512f avx512bw fma", "float32"),
        # The names of such instructions on ARM, where TensorFlow was not measured.
        ("fp asimd bf16 i8mm", "float32"),
    ],
)
def test_auto_follows_the_instructions_of_the_processor(tmp_path, flags, precision):
    processor = tmp_path / "cpuinfo"
    processor.write_text(f"processor\t: 0\nmodel name\t: A Chip\nflags\t\t: {flags}\n")
    assert supported_precision("auto", processor) == precision


def test_auto_is_float32_where_the_system_does_not_describe_the_processor(tmp_path):
    assert supported_precision("auto", tmp_path / "cpuinfo") == "float32"


@pytest.mark.parametrize("gpu", [None, "A card"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_given_precision_is_kept(precision, gpu):
    assert supported_precision(precision, gpu=gpu) == precision


def test_on_a_gpu_auto_is_float32_whatever_the_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text("flags : avx512_bf16\n")
    assert supported_precision("auto", tmp_path / "cpuinfo", "A card") == "float32"


def test_float16_is_for_gpus_alone():
    assert supported_precision("float16", gpu="A card") == "float16"
    with pytest.raises(
        GraftError, match=r"^fine_tune\.precision: float16 needs a GPU, .* set auto, float32 or bfloat16$"
    ):
        supported_precision("float16")


def test_metrics_name_the_gpu_and_no_processor_as_a_device():
    assert used_numbers("bfloat16", "A card") == {
        "precision": "bfloat16",
        "processor": processor_kind(),
        "device": "A card",
    }
    assert set(used_numbers("auto")) == {"precision", "processor"}


def test_the_kind_of_a_processor_is_the_instructions_that_decide_how_results_are_rounded(tmp_path):
    processor = tmp_path / "cpuinfo"
    machine = platform.machine()
    assert processor_kind(processor) == machine
    for flags, kind in (
        ("fpu fma avx2 sse", "avx2, fma"),
        ("amx_bf16 avx512f fma avx2", "avx2, fma, avx512f, amx_bf16"),
    ):
        # What differs between two of a kind: number, name, clock.
        processor.write_text(f"processor\t: 0\ncpu MHz\t: 2700.1\nflags\t\t: {flags}\n" * 2)
        assert processor_kind(processor) == f"{machine} with {kind}"
