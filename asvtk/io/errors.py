"""The one exception that a user is meant to read."""

__all__ = ["AsvtkError", "listing"]


class AsvtkError(Exception):
    """A fault in what the user gave us, told in words that say what to do.

    The message names the file, line or utterance, what was expected, and the remedy. ``asvtk``
    prints it without a traceback and exits with status 1; any other exception is a bug of ours
    and keeps its traceback.
    """


def listing(items, limit: int = 10) -> str:
    """Join ``items`` with commas, cutting a long list: ``a, b, c and 97 more``."""
    items = [str(item) for item in items]
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
