"""Numbers of bytes as text: "5GB", "37.6 KB"."""

import re

from graft.core.errors import GraftError

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_size(text: str, name: str) -> int:
    """Return the number of bytes in a size such as "5GB" or "500 MB" (decimal units).

    Parameters
    ----------
    text : the size.
    name : of the option or variable that has it, for the error message.

    Raises
    ------
    GraftError
        If `text` is not a size.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Z]*)", text.strip().upper())
    unit = (match[2] or "B") if match else ""
    if not match or unit not in UNITS:
        raise GraftError(f"{name}: {text!r} is not a size; write for example 500MB or 5GB")
    return int(float(match[1]) * UNITS[unit])


def readable(size: int) -> str:
    """Return a number of bytes with its unit, such as "37.6 KB"."""
    unit = max((unit for unit in UNITS if UNITS[unit] <= max(size, 1)), key=UNITS.__getitem__)
    return f"{size / UNITS[unit]:.{0 if unit == 'B' else 1}f} {unit}"
