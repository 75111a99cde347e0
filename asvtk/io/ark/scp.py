"""Reading scp files: which matrix lies where. Nothing that stands in one is ever run."""

from asvtk.io.errors import AsvtkError

__all__ = ["parse_scp_line", "read_scp"]


def parse_scp_line(line: str, where: str) -> tuple[str, str, int]:
    """Split ``key file.ark:OFFSET``.

    Raises:
        AsvtkError: another form; above all a command (``... |``), which is never run.
    """
    entry = _split(line)
    if entry is None:
        raise AsvtkError(f"{where}: expected 'key file.ark:offset', found {line.strip()!r}")
    return entry


def _split(line: str) -> tuple[str, str, int] | None:
    fields = line.split(maxsplit=1)
    if len(fields) != 2:
        return None
    ark, _, offset = fields[1].rpartition(":")
    offset = offset.rstrip()
    if not ark or not offset.isdecimal() or len(offset) > 18:  # what fits 64 bits
        return None
    return fields[0], ark, int(offset)


def read_scp(path) -> dict[str, tuple[str, int]]:
    """Read an scp file: key -> (ark path, offset), in file order.

    Raises:
        AsvtkError: the file is missing or no text, a line is malformed, or a key or a place comes twice.
    """
    entries, arks = {}, {}
    try:
        with open(path, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                key, ark, offset = _split(line) or parse_scp_line(line, f"{path}:{number}")
                if key in entries:
                    raise AsvtkError(f"{path}:{number}: {key} stands here for the second time")
                # One string per ark, not per line: 25 layers of a corpus are three million lines.
                entries[key] = (arks.setdefault(ark, ark), offset)
    except FileNotFoundError:
        raise AsvtkError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise AsvtkError(f"{path}: expected lines of UTF-8 text; is it an ark, not an scp?") from None
    if len(set(entries.values())) < len(entries):
        owners = {}
        for key, place in entries.items():
            if (owner := owners.setdefault(place, key)) != key:
                raise AsvtkError(f"{path}: {owner} and {key} have one and the same matrix; run stage 2 again")
    return entries
