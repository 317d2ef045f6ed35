"""Numbers of bytes as text: read and written in decimal units."""

import pytest

from graft.core.byte_sizes import parse_size, readable
from graft.core.errors import GraftError


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("12B", 12), ("1.5 gb", 1_500_000_000), (" 500 MB ", 500_000_000), ("2TB", 2 * 10**12)],
)
def test_a_size_is_a_number_with_a_unit_in_either_case(text, size):
    assert parse_size(text, "--limit") == size


@pytest.mark.parametrize("text", ["", "-5GB", "5 XB", "GB", "1e3", "0x10", "5GB!", "nan", "5 G B", "9" * 400])
def test_a_text_that_is_not_a_size_is_refused_with_its_place_and_what_would_do(text):
    with pytest.raises(GraftError, match=r"^--limit: .* is not a size; write for example 500MB or 5GB$"):
        parse_size(text, "--limit")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (37_600, "37.6 KB"),
        (2_500_000_000, "2.5 GB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_a_number_of_bytes_has_the_largest_unit_that_fits(size, text):
    assert readable(size) == text
