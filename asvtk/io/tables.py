"""Kaldi's two-column text files (``wav.scp``, ``utt2label`` ...): a key, a space, a value.

Lines are sorted as ``LC_ALL=C sort`` does (code points, which for UTF-8 is byte order), keys are
unique, and the last line ends in a newline: Kaldi's own tools insist on all three.
"""

from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError

__all__ = ["read_table", "write_table"]


def read_table(path) -> dict[str, str]:
    """Read a two-column file, in file order.

    Raises:
        AsvtkError: the file is missing, a line has no value, or a key comes twice; with the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise AsvtkError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise AsvtkError(f"{path}: is no UTF-8 text") from None
    table = {}
    for number, line in enumerate(lines, 1):
        fields = line.split(maxsplit=1)
        if len(fields) != 2:
            raise AsvtkError(f"{path}:{number}: expected 'key value', found {line!r}")
        key, value = fields
        if key in table:
            raise AsvtkError(f"{path}:{number}: {key} stands here for the second time")
        table[key] = value.rstrip()
    return table


def write_table(path, table: dict) -> None:
    """Write ``table`` sorted and in one step; values are written with ``str``."""
    write_text(path, "".join(f"{key} {table[key]}\n" for key in sorted(table)))
