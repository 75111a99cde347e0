"""Several corpora in one file, for recipes that train and test on more than one.

    la_real:                                  # name: of the data directories, la_real-train ...
      corpus: asvspoof2019_la                 # of 'asvtk corpora ls', or a description of one's own
      path: /corpora/la_real/LA
      sets: [train, dev, eval]                # default: all that are there
    wild:
      table: /corpora/wild/wild.csv
      columns: {path: path, label: label, attack: system, speaker: speaker, set: split}
      labels: {bonafide: [human], spoof: [tts, vc]}

Relative paths begin in the file's folder.
"""

from dataclasses import dataclass, field
from pathlib import Path

from asvtk.corpora.corpus import Corpus, open_corpus
from asvtk.corpora.description import Values, Words
from asvtk.corpora.tables import open_table
from asvtk.io.config import build, load_yaml
from asvtk.io.datadir_rules import is_safe_id
from asvtk.io.errors import AsvtkError

__all__ = ["Entry", "read_collection"]


@dataclass(frozen=True)
class _Source:
    corpus: str = ""
    path: str = ""
    version: str | None = None
    also: Values = Values()
    sets: tuple[str, ...] | None = None
    table: str = ""
    columns: Values = Values()
    labels: Words | None = None
    root: str | None = None
    utt_prefix: str = ""

    def __post_init__(self):
        if bool(self.corpus and self.path) == bool(self.table):
            raise ValueError("expected corpus and path, or table and columns")


@dataclass(frozen=True)
class Entry:
    """One corpus of a collection."""

    name: str
    source: _Source
    folder: Path = field(default_factory=Path)

    @property
    def sets(self) -> list[str] | None:
        return None if self.source.sets is None else list(self.source.sets)

    @property
    def utt_prefix(self) -> str:
        return self.source.utt_prefix

    def open(self) -> Corpus:
        """
        Raises:
            AsvtkError: as ``open_corpus`` and ``open_table``.
        """
        source = self.source
        if source.corpus:
            own = source.corpus.endswith((".yaml", ".yml"))
            name = str(self.folder / source.corpus) if own else source.corpus
            also = {other: self.folder / path for other, path in source.also.pairs}
            return open_corpus(name, self.folder / source.path, source.version, also)
        words = source.labels and {
            **dict.fromkeys(source.labels.bonafide, True),
            **dict.fromkeys(source.labels.spoof, False),
        }
        root = None if source.root is None else self.folder / source.root
        return open_table(self.folder / source.table, dict(source.columns.pairs), words, root)


def read_collection(path) -> list[Entry]:
    """The corpora that a file lists, in its order.

    Raises:
        AsvtkError: it cannot be read, an entry does not fit, or a name cannot be that of a data directory.
    """
    path, entries = Path(path), []
    for name, content in load_yaml(path).items():
        if not isinstance(name, str) or not is_safe_id(name):
            raise AsvtkError(
                f"{path}: {name!r:.80} is no name for data directories: expected one word without '/'"
            )
        source = build(_Source, content, f"{path}: {name}")
        entries.append(Entry(name, source, path.absolute().parent))
    if not entries:
        raise AsvtkError(f"{path}: lists no corpora")
    return entries
