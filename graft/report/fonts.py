"""Class names in any script: common fonts for those that matplotlib's own font lacks."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

# Characters. A figure has no room for more.
LONGEST = 36
# matplotlib brings the first two. It draws each character with the first of the installed fonts that has it.
FAMILIES = (
    "DejaVu Sans",
    "STIXGeneral",
    # Chinese, Japanese and Korean: of Linux, Windows and macOS.
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Hiragino Sans GB",
    "Apple SD Gothic Neo",
    # Devanagari, Bengali, Tamil and Thai.
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Lohit Devanagari",
    "Nirmala UI",
    "Leelawadee UI",
    # Emoji in one colour: matplotlib draws no others.
    "Noto Emoji",
    "Segoe UI Emoji",
    # A little of everything.
    "FreeSans",
    "FreeSerif",
    "Arial Unicode MS",
    "Unifont",
)


@contextmanager
def class_names(names: Sequence[str], labels: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names that figures can draw, one per class; fonts for them are set while the block runs.

    Where no installed font of `FAMILIES` has all characters of a name, its label is used, and where none has those of
    the label, the number of the class. One line on standard error says so. Long names are cut.

    Parameters
    ----------
    names : the display name of each class.
    labels : the label of each class, in the same order.
    """
    installed = set(fontManager.get_font_names())
    families = [family for family in FAMILIES if family in installed]
    characters = {chr(code) for family in families for code in FT2Font(fontManager.findfont(family)).get_charmap()}
    drawn = [
        next((text for text in (name, label) if characters.issuperset(text)), f"class {number}")
        for number, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    replaced = [f"{name} as {text}" for name, text in zip(names, drawn, strict=True) if name != text]
    if replaced:
        print(f"warning: no font has all characters; the figures show {', '.join(replaced)}", file=sys.stderr)
    with matplotlib.rc_context({"font.family": families}):
        yield [text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in drawn]
