"""Class names in any script: fonts that have their letters, and another name where no installed font has them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import matplotlib
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font

# What matplotlib brings; its letters come first, so that figures look the same everywhere where it has them all.
FIRST = "DejaVu Sans"
# The font of that name has a frame for every letter that there is.
LAST_RESORT = "Last Resort"
REGULAR_WEIGHTS = (400, "normal", "regular", "book")


@contextmanager
def lettered(names: Sequence[str], labels: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names as figures can show them, with fonts set while the block runs that have all their letters.

    Where no installed font has a name's letters, its label stands for it, or its number if they are missing there too;
    one line on standard error says so.

    Parameters
    ----------
    names : what the classes are to be called.
    labels : what their folders are called, in the same order.
    """
    families, missing = covering({letter for text in (*names, *labels) for letter in text})
    shown = [
        next((text for text in (name, label) if missing.isdisjoint(text)), f"class {number}")
        for number, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    replaced = [f"{name} as {text}" for name, text in zip(names, shown, strict=True) if name != text]
    if replaced:
        print(f"warning: no installed font has all letters; the figures show {', '.join(replaced)}", file=sys.stderr)
    with matplotlib.rc_context({"font.family": families}):
        yield shown


def covering(letters: set[str]) -> tuple[list[str], set[str]]:
    """Return names of installed fonts that together have most of the letters, the first of them `FIRST`, and the rest.

    Only as many fonts are taken as are needed: at each step the one that has most of the letters still missing.
    """
    families = [FIRST]
    missing = letters - _letters_of(fontManager.findfont(FIRST))
    while missing:
        found = max(_installed(), key=lambda font: len(missing & _letters_of(font.fname)), default=None)
        if found is None or missing.isdisjoint(_letters_of(found.fname)):
            break
        families.append(found.name)
        missing = missing - _letters_of(found.fname)
    return families, missing


def _installed() -> list[FontEntry]:
    """Return the upright fonts of regular weight, in the order of their names."""
    regular = [
        font
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in REGULAR_WEIGHTS and not font.name.startswith(LAST_RESORT)
    ]
    return sorted(regular, key=lambda font: (font.name, font.fname))


@cache
def _letters_of(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        # A damaged font file, or one that was uninstalled since matplotlib listed it.
        return frozenset()
