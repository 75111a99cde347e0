"""An HTML page that needs nothing else: no network, style, pictures and scripts inside."""

import base64
import hashlib
from pathlib import Path

from asvtk.report.svg import Markup, element, join

__all__ = ["document", "footer", "picture"]


def document(title: str, *body, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        title: the browser's.
        body: what `asvtk.report.svg.element` takes.
        style: name of a style sheet of this folder, which follows ``page.css``.
        script: name of a script of this folder; no other runs on the page, and nothing is loaded.
    """
    css = "".join(_beside(name) for name in ("page.css", style) if name)
    code = _beside(script) if script else ""
    policy = element("meta", http_equiv="Content-Security-Policy", content=_policy(code))
    head = join(
        [
            Markup(
                '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            ),
            Markup('<meta name="color-scheme" content="light dark">'),
            Markup(policy.removesuffix("</meta>")) if script else "",
            element("title", title),
            element("style", Markup(css)),
        ]
    )
    last = element("script", Markup(code)) if script else ""
    page = element("html", element("head", head), element("body", element("main", *body), last), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _beside(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """What a browser lets the page do, should the name of a file ever become a tag after all."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )


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
