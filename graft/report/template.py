"""The template of the page, filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from graft.report import charts, words

TEMPLATES = Path(__file__).with_name("templates")


def unbroken(text: str) -> str:
    """Return a text in which no line ends between a number and its per cent sign."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def filled_in(content: Mapping[str, Any]) -> str:
    """Return the text of the page: templates/page.html with this content, its style and its script."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"unbroken": unbroken, "percent": lambda share: unbroken(words.percent(share))}
    style, script = (Markup((TEMPLATES / f"page.{end}").read_text(encoding="utf-8")) for end in ("css", "js"))
    return environment.get_template("page.html").render(content, charts=charts, style=style, script=script)
