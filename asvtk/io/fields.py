"""Typed values of JSON objects, which anybody may have changed since they were written."""

import math

from asvtk.io.errors import AsvtkError

__all__ = ["field_of"]

_WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "true or false",
    list: "a list",
    dict: "an object {...}",
}
_MISSING = object()


def field_of(content: dict, name: str, kind: type, where):
    """The value at ``name``, dots between the names of objects in each other.

    Args:
        content: as ``asvtk.io.text.read_json`` gives it.
        name: such as ``threshold.threshold``.
        kind: int, float (also a whole number; never nan or inf), str, bool, list or dict.
        where: the file, for messages.

    Raises:
        AsvtkError: there is no such value, or it is of another kind: ``true`` and ``"1"`` are no numbers.
    """
    value = content
    for key in name.split("."):
        value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
    if not _fits(value, kind):
        actual = "nothing" if value is _MISSING else repr(value)[:60]
        raise AsvtkError(f"{where}: expected {_WORDS[kind]} as {name!r}, found {actual}")
    return value


def _fits(value, kind: type) -> bool:
    if kind is float:
        # An integer beyond the range of doubles would stop isfinite.
        return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)
    return type(value) is kind
