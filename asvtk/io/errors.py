"""The one exception that a user is meant to read."""

import re

__all__ = ["AsvtkError", "listing", "readable", "shown"]

_LONGEST = 200  # characters of one item in a message
_LONG_WORD = re.compile(r"[^\s/]{401,}")  # no name of a file is longer


class AsvtkError(Exception):
    """A fault in what the user gave us, told in words that say what to do.

    The message names the file, line or utterance, what was expected, and the remedy. ``asvtk``
    prints it without a traceback and exits with status 1; any other exception is a bug of ours
    and keeps its traceback. Words of more than 400 characters, which come out of damaged files, are cut.
    """

    def __init__(self, message: str = ""):
        super().__init__(readable(str(message)))


def readable(message: str) -> str:
    """A message without the words of more than 400 characters that come out of damaged files."""
    return _LONG_WORD.sub(lambda word: _cut(word[0]), message)


def listing(items, limit: int = 10) -> str:
    """Join ``items`` with commas, cutting a long list: ``a, b, c and 97 more``."""
    items = [_cut(str(item)) for item in items]
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def shown(text: str) -> str:
    """A quoted piece of somebody's file for a message, its middle left out if it is long."""
    return repr(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 4 :]}"
