"""Kaldi's two-column text files (``wav.scp``, ``utt2label`` ...): a key, a space, a value.

Lines are sorted as ``LC_ALL=C sort`` does (code points, which for UTF-8 is byte order), keys are
unique, and the last line ends in a newline: Kaldi's own tools insist on all three.
"""

import re

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.text import read_lines, split_blanks

__all__ = ["read_table", "write_table"]

_LINE = re.compile(r"[^ \t\r\n\0]+ [^ \t\r\n\0]([^\r\n\0]*[^ \t\r\n\0])?\n")


def read_table(path) -> dict[str, str]:
    """Read a two-column file, in file order; blank lines count for nothing.

    Raises:
        AsvtkError: the file is missing or no text (see ``io.text.read_text``), a line has no value, or a
            key comes twice; with the line.
    """
    table = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = split_blanks(line, 2)
        if not fields:
            continue
        if len(fields) != 2:
            raise AsvtkError(f"{path}:{number}: expected 'key value', found {line[:100]!r}")
        key, value = fields
        if key in table:
            raise AsvtkError(f"{path}:{number}: {key} stands here for the second time")
        table[key] = value
    return table


def write_table(path, table: dict) -> None:
    """Write ``table`` sorted and in one step; values are written with ``str``.

    Raises:
        AsvtkError: a key or a value would not be read back as it is: an empty one, a key with blanks, a value
            with blanks at an end, a line end in either, or a file name that is not UTF-8. Or the file
            cannot be written.
    """
    lines = [f"{key} {table[key]}\n" for key in sorted(table)]
    text = "".join(lines)
    if not (all(map(_LINE.fullmatch, lines)) and _is_unicode(text)):
        wrong = next(line for line in lines if not (_LINE.fullmatch(line) and _is_unicode(line)))
        raise AsvtkError(
            f"{path}: cannot hold {wrong[:-1]!r}: a Kaldi table is UTF-8 text, its keys have no blanks, and its "
            "values no line end and no blank at an end; rename it"
        )
    write_text(path, text)


def _is_unicode(text: str) -> bool:
    """False where a file name's bytes are no UTF-8: Python keeps them as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
