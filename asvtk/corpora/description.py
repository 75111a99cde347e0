"""Descriptions of corpora: where trials are listed, where audio lies, what the words mean, what is official.

One YAML file per corpus in ``descriptions/``; ``asvtk corpora show NAME`` prints it. A user's own file in the
same form is given by its path. Paths are patterns relative to the corpus's folder:

    ASVspoof2019_LA_{set}/flac/{utterance}.flac

``{set}`` and what a set defines itself (``part``, ``folder`` ...) are filled in first. In ``table`` and
``files`` any other name stands for one part of a path that is looked for, and becomes a column; in ``audio``
it is a column of the trial. ``*`` is any part of a name, and ``**`` any part of a path.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from asvtk.io.config import build, load_yaml
from asvtk.io.datadir_rules import unsafe_ids
from asvtk.io.errors import AsvtkError

__all__ = [
    "HOLE",
    "CorpusDescription",
    "Download",
    "Names",
    "SetDescription",
    "TrialList",
    "Words",
    "description_path",
    "list_corpora",
    "load_description",
]

_FOLDER = Path(__file__).parent / "descriptions"
_NAME = re.compile(r"\{(\w+)\}")
#: files of a data directory that mean something else than a column of a trial
_TAKEN = frozenset(
    [
        "spk",
        "label",
        "attack",
        "speaker",
        "num_samples",
        "md5",
        "source",
        "key",
        "utterance",
        "path",
        "set",
        "sample_rate",
        "channels",
        "coding",
    ]
)
#: what a pattern leaves open: a name, any part of a name, or any part of a path
HOLE = re.compile(r"\{(\w+)\}|\*\*|\*")
_SEPARATORS = {"blanks": None, "comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


@dataclass(frozen=True)
class Words:
    """Words of one column that mean bona fide, and spoof; ``*`` = all others."""

    bonafide: tuple[str, ...] = ("bonafide",)
    spoof: tuple[str, ...] = ("spoof",)
    hint: str = ""  # what to do about other words

    def label_of(self, word: str) -> str | None:
        for label in ("bonafide", "spoof"):
            if word in getattr(self, label):
                return label
        return next((label for label in ("bonafide", "spoof") if "*" in getattr(self, label)), None)

    def __str__(self) -> str:
        return " ".join(word for word in (*self.bonafide, *self.spoof) if word != "*")


@dataclass(frozen=True)
class Names:
    """Names of the columns of a table: a list of all of them in order, or ``{ours: name in the header}``."""

    in_order: tuple[str, ...] = ()
    in_header: tuple[tuple[str, str], ...] = ()

    @classmethod
    def build(cls, content, where: str) -> "Names":
        if isinstance(content, list) and content and all(isinstance(name, str) for name in content):
            return cls(in_order=tuple(content))
        if isinstance(content, dict) and content:
            pairs = tuple((str(ours), str(theirs)) for ours, theirs in content.items())
            if all(re.fullmatch(r"\w+", ours) for ours, _ in pairs):
                return cls(in_header=pairs)
        raise AsvtkError(
            f"{where}: expected all columns in order, [speaker, utterance, '-', attack, key], or those of a "
            f"header, {{utterance: file, key: label}}; found {_short(content)}"
        )

    def describe(self):
        return dict(self.in_header) if self.in_header else list(self.in_order)


@dataclass(frozen=True)
class Values:
    """Text values by name, in YAML a mapping."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def build(cls, content, where: str) -> "Values":
        if not isinstance(content, dict) or not all(
            isinstance(x, (str, int, float)) for x in content.values()
        ):
            raise AsvtkError(f"{where}: expected names and texts, found {_short(content)}")
        return cls(tuple((str(name), str(value)) for name, value in content.items()))

    def describe(self) -> dict:
        return dict(self.pairs)


@dataclass(frozen=True)
class TrialList:
    """Where trials are listed: in a table, or by the folders that audio lies in."""

    table: tuple[str, ...] = ()  # patterns of tables; of several the first that is there
    columns: Names = Names()
    separator: Literal["blanks", "comma", "semicolon", "tab", "pipe"] = "blanks"
    quoted: bool = True  # quotes of CSV mean something
    files: str = ""  # instead of a table: pattern of audio files, without their suffix
    audio: tuple[str, ...] = ()  # patterns of the audio of a trial; of several the first that is there
    root: str = ""  # the folder of another corpus (see `also`); empty: this corpus's
    constant: Values = Values()  # columns that are the same for all
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)  # column -> values; other trials are left
    named_in: str = ""  # only files that this column of the lists before names
    sets: tuple[str, ...] = ()  # for these sets; empty: for all

    def __post_init__(self):
        if bool(self.table) == bool(self.files):
            raise ValueError("expected either table or files")
        if self.table and not (self.audio and self.columns != Names()):
            raise ValueError("a table needs columns and audio")
        ours = {*self.columns.in_order, *(name for name, _ in self.columns.in_header)}
        if self.table and not ours & {"utterance", "path"}:
            raise ValueError("columns: one must be the utterance, or the path of its audio")

    @property
    def mark(self) -> str | None:
        """What parts the columns; None: blanks."""
        return _SEPARATORS[self.separator]


@dataclass(frozen=True)
class SetDescription:
    """One set of a corpus: how many trials it has officially, and what fills in the patterns."""

    bonafide: int | None = None
    spoof: int | None = None
    trials: int | None = None  # of both classes, where no more is known
    where: tuple[tuple[str, str], ...] = ()  # column and value of its trials, in a list that has others too
    default: bool = True  # prepared where nobody says which sets
    variables: tuple[tuple[str, str], ...] = ()

    @classmethod
    def build(cls, content, where: str) -> "SetDescription":
        if not isinstance(content or {}, dict):
            raise AsvtkError(f"{where}: expected keys and values, found {_short(content)}")
        content = dict(content or {})
        chosen = Values.build(content.pop("where", {}), f"{where}.where").pairs
        counts = ("bonafide", "spoof", "trials")
        known = {name: content.pop(name) for name in (*counts, "default") if name in content}
        for name in counts:
            if not isinstance(known.get(name, 0), int):
                raise AsvtkError(f"{where}.{name}: expected a number of trials, found {_short(known[name])}")
        return cls(**known, where=chosen, variables=Values.build(content, where).pairs)

    def agrees(self, bonafide: int, spoof: int) -> bool:
        """Whether there are as many trials, as far as is known."""
        pairs = ((self.bonafide, bonafide), (self.spoof, spoof), (self.trials, bonafide + spoof))
        return all(official in (None, count) for official, count in pairs)

    @property
    def size(self) -> int | None:
        """Official number of trials."""
        known = None not in (self.bonafide, self.spoof)
        return self.bonafide + self.spoof if known else self.trials

    def describe(self) -> dict:
        counts = {"bonafide": self.bonafide, "spoof": self.spoof, "trials": self.trials}
        return counts | {"default": self.default} | {"where": dict(self.where)} | dict(self.variables)


@dataclass(frozen=True)
class Download:
    """A file of the corpus's publisher."""

    url: str
    md5: str = ""
    size: str = ""  # for people


@dataclass(frozen=True)
class AsvScoreFiles:
    """Scores of the organisers' speaker verification, and their key where they have one (2021)."""

    scores: tuple[str, ...]
    key: str = ""


@dataclass(frozen=True)
class CorpusDescription:
    """All that preparing and evaluating a corpus depends on."""

    title: str
    sets: dict[str, SetDescription]
    trials: tuple[TrialList, ...]
    licence: str = "not stated"
    source: str = ""  # where it is to be had
    paper: str = ""
    about: tuple[str, ...] = ()  # what a user must know
    versions: tuple[str, ...] = ()  # several: the user says which
    official: dict[str, SetDescription] = field(
        default_factory=dict
    )  # version/set -> counts, where they differ
    folder: str = "its folder, unpacked"  # which folder the user gives
    marker: tuple[str, ...] = ()  # patterns: by any of them that folder is known
    inside: tuple[str, ...] = ()  # folders within the one given that may be it
    also: dict[str, str] = field(default_factory=dict)  # other corpora that belong to it: name -> what it is
    labels: Words = Words()
    no_attack: tuple[str, ...] = ("-",)  # what stands for the attack of bona fide speech
    keep: tuple[str, ...] = ()  # columns that become utt2NAME
    has_sets: bool = True  # False: its only set is the data directory itself
    attacks: str = ""  # the database whose facts name the kinds of its attacks
    audio: Literal["16 kHz mono", "any"] = "16 kHz mono"  # any: stage 1 converts what is otherwise
    asv_scores: AsvScoreFiles | None = None
    downloads: tuple[Download, ...] = ()
    by: tuple[str, ...] = ()  # columns that results are broken down by
    tables: tuple[str, ...] = ()  # two-way tables, ROWS,COLUMNS
    metrics: tuple[str, ...] = ("eer_percent",)  # what its papers report, the first before all

    def __post_init__(self):
        if not self.sets or not all(isinstance(name, str) for name in self.sets) or unsafe_ids([*self.sets]):
            raise ValueError("sets: expected names of folders, one word without '/'")
        taken = [name for name in self.keep if name in _TAKEN or not name.isidentifier()]
        if taken:
            raise ValueError(
                f"{taken[0]!r} cannot be the name of a further column: utt2NAME means something else"
            )

    def lists(self, name: str) -> Iterator[TrialList]:
        """The trial lists of one set."""
        return (trials for trials in self.trials if not trials.sets or name in trials.sets)

    def fill(self, pattern: str, name: str) -> str:
        """A pattern with what a set defines filled in."""
        known = {"set": name, **dict(self.sets[name].variables)}
        return _NAME.sub(lambda found: known.get(found[1], found[0]), pattern)

    def official_set(self, version: str, name: str) -> SetDescription:
        """A set with its official numbers in one version."""
        return self.official.get(f"{version}/{name}", self.sets[name])


def _short(content) -> str:
    return f"{content!r:.60}"


def list_corpora() -> list[str]:
    """Names of the corpora that asvtk knows."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def description_path(name: str) -> Path:
    """The file of a corpus's description; see ``load_description``."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    if name not in list_corpora():
        raise AsvtkError(
            f"no corpus {name!r} is known; there are: {', '.join(list_corpora())}; or give the path of a "
            "description of your own, NAME.yaml"
        )
    return _FOLDER / f"{name}.yaml"


def load_description(name: str) -> CorpusDescription:
    """The description of a corpus.

    Args:
        name: of a corpus that asvtk knows, or the path of a YAML file in the same form.

    Raises:
        AsvtkError: there is none, or something in it is unknown or does not fit.
    """
    path = description_path(name)
    return build(CorpusDescription, load_yaml(path), str(path))
