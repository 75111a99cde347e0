"""Markup built so that text from a file can never become a tag; and the numbers and ticks of charts."""

import html
import re
from math import ceil, floor, log10

__all__ = ["Markup", "element", "join", "linear_ticks", "plain", "text_of"]

#: Characters that no HTML page may hold; half a surrogate pair stands for a byte that is no UTF-8.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Markup(str):
    """A string that is markup already; every other string is text and gets escaped."""


def element(name: str, *children, **attributes) -> Markup:
    """One HTML or SVG element.

    Args:
        name: of the tag.
        children: `Markup` stands as it is, anything else is text and is escaped.
        attributes: ``class_`` means class, ``stroke_width`` means stroke-width; None leaves one
            out; floats are cut to what can be seen.
    """
    written = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(parts) -> Markup:
    """Parts one after the other; what is not `Markup` is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(text_of(part)) for part in parts))


def text_of(value) -> str:
    """A value as text that a page can hold."""
    return _FORBIDDEN.sub("\ufffd", str(value))


def plain(value: float, digits: int = 2) -> str:
    """A number without needless zeros: 12.5, 3, 0.07."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def linear_ticks(low: float, high: float, about: int = 5) -> list:
    """Round numbers between two values, about so many; just ``low`` when the two are equal."""
    if not high > low:
        return [low]
    step = 10 ** floor(log10((high - low) / about))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= about)
    return [i * step for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _value(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else text_of(value)
