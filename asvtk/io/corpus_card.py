"""What a data directory is a set of: ``corpus.json``, by which results name their corpus, version and set."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.text import read_json

__all__ = ["CorpusCard"]

_NAME = "corpus.json"
_LISTS, _NUMBERS = ("by", "tables", "metrics"), ("bonafide", "spoof", "trials")


@dataclass(frozen=True)
class CorpusCard:
    """Corpus, version and set of a data directory, and how its papers look at results.

    Attributes:
        corpus: its name in the registry.
        title: for people.
        version: empty where there is one only.
        set: of the corpus.
        bonafide, spoof, trials: official numbers of trials; None where they are not known.
        licence: of the audio.
        by: columns that results are broken down by.
        tables: two-way tables, each ``ROWS,COLUMNS``.
        metrics: keys of results, the first before all.
    """

    corpus: str
    title: str
    version: str
    set: str
    bonafide: int | None = None
    spoof: int | None = None
    trials: int | None = None
    licence: str = ""
    by: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """For tables and pages: ``ASVspoof 2021 LA, eval``."""
        return ", ".join(filter(None, (self.title, self.version, self.set)))

    @property
    def is_counted(self) -> bool:
        """Whether any official number is known."""
        return (self.bonafide, self.spoof, self.trials) != (None, None, None)

    def difference(self, bonafide: int, spoof: int) -> str | None:
        """A sentence on how so many trials differ from the official set; None: not, as far as is known."""
        pairs = ((self.bonafide, bonafide), (self.spoof, spoof), (self.trials, bonafide + spoof))
        if all(official in (None, found) for official, found in pairs):
            return None
        there = f"{self.trials}" if self.bonafide is None else f"{self.bonafide} and {self.spoof}"
        return (
            f"not the official {self.heading} set: {bonafide} bona fide and {spoof} spoof trials against "
            f"{there} there. Published results are of that set."
        )

    def describe(self) -> dict:
        """What results say of it."""
        return {"corpus": self.corpus, "title": self.title, "version": self.version, "set": self.set}

    def write(self, folder) -> None:
        write_text(Path(folder) / _NAME, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder) -> "CorpusCard | None":
        """The card of a data directory; None where it has none.

        Raises:
            AsvtkError: it is damaged.
        """
        path = Path(folder) / _NAME
        if not path.is_file():
            return None
        content, known = read_json(path), {}
        for field in fields(cls):
            value = content.get(field.name) if isinstance(content, dict) else None
            if field.name in _LISTS:
                fits = isinstance(value, list) and all(isinstance(x, str) for x in value)
                value = tuple(value) if fits else None
            else:
                fits = type(value) in ((int, type(None)) if field.name in _NUMBERS else (str,))
            if fits:
                known[field.name] = value
            else:
                raise AsvtkError(f"{path}: {field.name} is missing or of another kind; run stage 1 again")
        return cls(**known)
