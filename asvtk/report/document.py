"""An HTML page that needs nothing else: no network, no scripts, style and pictures inside."""

import base64
from pathlib import Path

from asvtk.report.svg import Markup, element, join

__all__ = ["document", "footer", "picture"]


def document(title: str, *body) -> str:
    """A whole page; ``title`` is the browser's, ``body`` what `asvtk.report.svg.element` takes."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    head = join(
        [
            Markup(
                '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            ),
            Markup('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            element("style", Markup(style)),
        ]
    )
    page = element("html", element("head", head), element("body", element("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def footer(about: dict) -> Markup:
    """Facts as `asvtk.report.markdown.environment` gives them."""
    pairs = [
        part
        for what, value in about.items()
        for part in (
            element("dt", what),
            element("dd", element("code", value) if what == "command" else value),
        )
    ]
    return element("footer", element("dl", *pairs))


def picture(png: bytes, alt: str, width: int) -> Markup:
    """A PNG in the page itself, on white, ``width`` CSS pixels wide; it scrolls where that is too much."""
    data = base64.b64encode(png).decode()
    opening = element(
        "img",
        src=f"data:image/png;base64,{data}",
        alt=alt,
        width=width,
        style="display: block; height: auto; background: #ffffff; padding: 12px",
    )
    return element("div", Markup(opening.removesuffix("</img>")), class_="scroll", tabindex=0)
