"""Anybody's own table as a corpus: a CSV file with a path, a label, and what else it says of each clip."""

from pathlib import Path

from asvtk.corpora.corpus import Corpus
from asvtk.corpora.description import CorpusDescription, Names, SetDescription, TrialList, Words
from asvtk.io.datadir_rules import unsafe_ids
from asvtk.io.errors import AsvtkError, listing, shown
from asvtk.io.rows import Form, read_rows, split_line
from asvtk.io.stamps import file_digest
from asvtk.io.text import read_text

__all__ = ["DEFAULT_LABELS", "WHOLE", "open_table"]

#: the set of a table that has no column for it
WHOLE = "all"
DEFAULT_LABELS = {"bonafide": True, "bona-fide": True, "spoof": False}
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


def open_table(path, columns: dict[str, str], labels: dict[str, bool] | None = None, root=None) -> Corpus:
    """A table as a corpus with as many sets as its column ``set`` has values.

    Args:
        path: a table with a header; the separator is the comma, semicolon, tab or pipe in it.
        columns: ours -> the header's: ``path`` and ``label`` at least; ``attack``, ``speaker``, ``set``
            mean what they mean everywhere, and any other name becomes a file ``utt2NAME``.
        labels: word of the label column -> is it bona fide?
        root: the folder that paths begin in; None: the table's own.

    Raises:
        AsvtkError: the table cannot be read or has no such column, or ``path`` or ``label`` is not told.
    """
    path = Path(path)
    for needed in ("path", "label"):
        if needed not in columns:
            raise AsvtkError(
                f"{path}: --columns does not say which column is the {needed}: --columns {needed}=NAME"
            )
    folder = (path.parent if root is None else Path(root)).absolute()
    if not folder.is_dir():
        raise AsvtkError(f"{folder}: no such folder; expected the one that the paths in {path} begin in")
    header, separator = _header(path)
    names = {"key" if ours == "label" else ours: theirs for ours, theirs in columns.items()}
    words = labels or DEFAULT_LABELS
    keep = tuple(ours for ours in columns if ours not in ("path", "label", "attack", "speaker", "set"))
    try:
        described = _describe(
            path, names, words, separator, _sets(path, header, separator, columns.get("set")), keep
        )
    except ValueError as error:
        raise AsvtkError(f"{path}: --columns: {error}") from None
    return Corpus(path.stem, described, folder, described.versions[0])


def _describe(
    path: Path, names: dict, words: dict, separator: str, sets: dict, keep: tuple
) -> CorpusDescription:
    return CorpusDescription(
        title=f"table {path.name}",
        sets=sets,
        has_sets=list(sets) != [WHOLE] or bool(sets[WHOLE].where),
        trials=(
            TrialList(
                table=(str(path.absolute()),),
                columns=Names(in_header=tuple(names.items())),
                separator=separator,
                audio=("{path}",),
            ),
        ),
        versions=(f"sha256:{file_digest(path)[:12]}",),
        labels=Words(
            *(tuple(w for w, is_it in words.items() if is_it is value) for value in (True, False)),
            hint="; other words are told by --labels bonafide=WORD,spoof=WORD",
        ),
        no_attack=("*",),
        keep=keep,
        audio="any",
    )


def _header(path: Path) -> tuple[list[str], str]:
    first = read_text(path).partition("\n")[0]
    separator = max(_SEPARATORS, key=lambda name: first.count(_SEPARATORS[name]))
    if _SEPARATORS[separator] not in first:
        raise AsvtkError(
            f"{path}:1: expected a header with names parted by commas, semicolons, tabs or pipes"
        )
    return split_line(first, _SEPARATORS[separator]), separator


def _sets(path: Path, header: list[str], separator: str, column: str | None) -> dict[str, SetDescription]:
    if column is None:
        return {WHOLE: SetDescription()}
    if column not in header:
        raise AsvtkError(f"{path}: the header has no column {column!r}; it has: {listing(header, 40)}")
    text = read_text(path)
    form = Form(_SEPARATORS[separator], len(header), ())
    fields, _ = read_rows(path, text, form, text.find("\n") + 1, 1)
    values = sorted(set(fields[header.index(column)]))
    names = ["_".join(value.split()) or "none" for value in values]
    if unsafe_ids(names):
        raise AsvtkError(
            f"{path}: {column} has {shown(min(unsafe_ids(names)))}, which is no name of a folder"
        )
    if len(values) > 20:
        raise AsvtkError(
            f"{path}: {column} has {len(values)} values, which are no sets such as train, dev, test"
        )
    if len(set(names)) < len(names):
        raise AsvtkError(f"{path}: {column} has values that differ in blanks only")
    pairs = zip(names, values, strict=True)
    return {name: SetDescription(where=(("set", value),)) for name, value in pairs}
