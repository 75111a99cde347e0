"""Kaldi data directories for anti-spoofing: Kaldi's files plus three of our own.

``wav.scp`` (path), ``utt2spk`` and ``spk2utt`` (the identity: official utterance ids stay as they
are, and Kaldi's own tools, which want speaker-prefixed ids, still accept the directory),
``utt2speaker`` (the true speaker), ``utt2label`` (``bonafide`` | ``spoof``), ``utt2attack`` (``-``
for bona fide), ``utt2num_samples`` and ``utt2md5`` (which audio this is). Beside them may stand
``utt2source`` (the bona fide utterance that a vocoded spoof was made of, ``-`` for all others),
``attack2kind`` (TTS, VC ...) and ``asv_scores``, the scores of the ASV system that the t-DCF needs.
"""

import functools
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from asvtk.io.datadir_rules import (
    BONAFIDE,
    FILES,
    LABELS,
    NO_ATTACK,
    NO_SOURCE,
    SOURCES,
    SPOOF,
    find_problems,
    missing_file,
    wrong_meaning,
)
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import digest
from asvtk.io.tables import read_table, write_table

__all__ = [
    "BONAFIDE",
    "LABELS",
    "NO_ATTACK",
    "SPOOF",
    "DataDirectory",
    "find_problems",
    "refuse_same_names",
]


@dataclass(frozen=True)
class DataDirectory:
    """The utterances of one data set. All tables but ``source`` have the same keys, in sorted order."""

    path: Path
    wav: dict[str, str]
    speaker: dict[str, str]
    label: dict[str, str]
    attack: dict[str, str]
    num_samples: dict[str, int]
    md5: dict[str, str]
    source: dict[str, str] = field(default_factory=dict)  # of vocoded spoofs alone: what they were made of

    @property
    def name(self) -> str:
        """The data set's name, as the feature cache and the score files use it: ``train`` ...

        That of a union, ``la19-dev+wild-dev``, is for people to read.
        """
        return "+".join(dict.fromkeys(part.path.name for part in self.parts))

    @property
    def parts(self) -> tuple["DataDirectory", ...]:
        """What a union was made of; of any other data set itself alone."""
        return self.__dict__.get("_parts", (self,))

    @property
    def utterances(self) -> list[str]:
        return list(self.wav)

    def count_classes(self) -> tuple[int, int]:
        """Number of bona fide and of spoofed utterances."""
        bonafide = sum(label == BONAFIDE for label in self.label.values())
        return bonafide, len(self.label) - bonafide

    def digest(self) -> str:
        """Tells this data set from any other: utterances, labels, attacks, audio, sources."""
        return digest([self.label, self.attack, self.md5, *([self.source] if self.source else [])])

    def column(self, name: str) -> dict[str, str]:
        """What a table says of each utterance, in the order of the utterances; read once.

        Args:
            name: ``label``, ``attack``, ``speaker``; ``corpus``, the name of the data directory; or any other
                NAME of a file ``utt2NAME``.

        Raises:
            AsvtkError: there is no such file, or it has no line for an utterance.
        """
        if name not in self._columns:
            self._columns[name] = self._column(name)
        return self._columns[name]

    @functools.cached_property
    def _columns(self) -> dict[str, dict[str, str]]:
        return {}

    def _column(self, name: str) -> dict[str, str]:
        if name in ("label", "attack", "speaker"):
            return getattr(self, name)
        if len(self.parts) > 1:
            values = {u: value for part in self.parts for u, value in part.column(name).items()}
        elif name == "corpus":
            values = dict.fromkeys(self.wav, self.name)
        else:
            path = self.path / f"utt2{name}"
            if not path.exists():
                raise AsvtkError(
                    f"{path}: no such file: it would say the {name!r} of each utterance; write it, a line "
                    "'utterance value' for each, or name another column"
                )
            values = read_table(path)
            if missing := [utterance for utterance in self.wav if utterance not in values]:
                raise AsvtkError(
                    f"{path}: has no line for {len(missing)} of {len(self.wav)} utterances, the first: "
                    f"{missing[0]}; 'asvtk validate {self.path}' tells all that is wrong"
                )
        return {utterance: values[utterance] for utterance in self.wav}

    def subset(self, utterances) -> "DataDirectory":
        """Some of the utterances, in order; it goes by the same path."""
        chosen = sorted(utterances)
        tables = {name: {u: getattr(self, name)[u] for u in chosen} for name in _TABLES}
        made = replace(self, **tables, source={u: self.source[u] for u in chosen if u in self.source})
        if len(self.parts) > 1:
            made._keep_parts([part.subset(u for u in chosen if u in part.wav) for part in self.parts])
        return made

    @classmethod
    def union(cls, parts: list["DataDirectory"]) -> "DataDirectory":
        """Several as one, which goes by the path of the first, and knows its parts.

        Raises:
            AsvtkError: an utterance is in two of them; with the way to give one of them other ids.
        """
        owner = {}
        for part in parts:
            for utterance in part.utterances:
                if utterance in owner:
                    raise AsvtkError(_shared_id(utterance, part, owner[utterance]))
                owner[utterance] = part
        tables = {}
        for name in [*_TABLES, "source"]:
            values = {u: value for part in parts for u, value in getattr(part, name).items()}
            tables[name] = {utterance: values[utterance] for utterance in sorted(values)}
        union = cls(path=parts[0].path, **tables)
        if len(parts) > 1:
            union._keep_parts(parts)
        return union

    def _keep_parts(self, parts: list["DataDirectory"]) -> None:
        # No field: two data sets of the same tables are equal, whatever they were made of.
        object.__setattr__(self, "_parts", tuple(parts))

    @property
    def asv_scores(self) -> Path:
        """Where the ASV scores stand, if the corpus has any."""
        return self.path / "asv_scores"

    @property
    def asv_key(self) -> Path:
        """Where the key of the ASV scores stands, if they have one of their own (2021)."""
        return self.path / "asv_key"

    def write(self) -> None:
        """Write all files; each is replaced in one step."""
        identity = {utterance: utterance for utterance in self.wav}
        write_table(self.path / "wav.scp", self.wav)
        write_table(self.path / "utt2spk", identity)
        write_table(self.path / "spk2utt", identity)
        write_table(self.path / "utt2speaker", self.speaker)
        write_table(self.path / "utt2label", self.label)
        write_table(self.path / "utt2attack", self.attack)
        write_table(self.path / "utt2num_samples", self.num_samples)
        write_table(self.path / "utt2md5", self.md5)
        if self.source:
            write_table(self.path / SOURCES, {u: self.source.get(u, NO_SOURCE) for u in self.wav})

    @classmethod
    def read(cls, path) -> "DataDirectory":
        """Read a data directory.

        Raises:
            AsvtkError: it is missing, its files do not agree, or they say what asvtk would get wrong (see
                ``datadir_rules.wrong_meaning``); ``asvtk validate`` tells more.
        """
        path = Path(path)
        if not path.is_dir():
            raise AsvtkError(
                f"{path}: no such data directory; run stage 1 first, which makes one for each set that the "
                "corpus has: ./run.sh --stage 1 --stop-stage 1"
            )
        _refuse(path, {})  # segments before all: such a directory lacks files too
        names = [name for name in FILES if name != "utt2spk"]
        for name in names:
            if not (path / name).exists():
                raise AsvtkError(missing_file(path / name))
        names += [SOURCES] if (path / SOURCES).exists() else []
        tables = {name: read_table(path / name) for name in names}
        keys = list(tables["wav.scp"])
        for name, table in tables.items():
            if list(table) != keys:
                raise AsvtkError(
                    f"{path}: {name} and wav.scp do not list the same utterances in the same order; "
                    f"'asvtk validate {path}' says where"
                )
        _refuse(path, tables)
        return cls(
            path=path,
            wav=tables["wav.scp"],
            speaker=tables["utt2speaker"],
            label=tables["utt2label"],
            attack=tables["utt2attack"],
            num_samples={utterance: int(count) for utterance, count in tables["utt2num_samples"].items()},
            md5=tables["utt2md5"],
            source={u: source for u, source in tables.get(SOURCES, {}).items() if source != NO_SOURCE},
        )


_TABLES = [table.name for table in fields(DataDirectory) if table.name not in ("path", "source")]


def refuse_same_names(sets: list[DataDirectory]) -> None:
    """
    Raises:
        AsvtkError: two data directories have the same name, which caches, scores and shares of sampling go
            by. The same directory may stand there twice.
    """
    known = {}
    for data in sets:
        other = known.setdefault(data.path.name, data)
        if os.path.realpath(other.path) != os.path.realpath(data.path):
            raise AsvtkError(
                f"{other.path} and {data.path}: two data directories called {data.path.name!r}; features and "
                "scores are kept by that name, so give one of them another, such as "
                f"{_example_name(data.path)}"
            )


def _example_name(path: Path) -> Path:
    """A name that tells a data directory from those of other corpora."""
    corpus = Path(os.path.abspath(path)).parent.name
    return path.with_name(f"CORPUS-{path.name}" if corpus in ("", "data") else f"{corpus}-{path.name}")


def _shared_id(utterance: str, part: DataDirectory, other: DataDirectory) -> str:
    if os.path.realpath(part.path) == os.path.realpath(other.path):
        return f"{part.path}: {utterance} is also in {other.path}; the data directory is named twice"
    prefix = f"{part.name}-"
    return (
        f"{part.path}: {utterance} is also in {other.path}; sets that are used together must not share "
        "utterance ids. Where they are other recordings, give these other ids: utils/copy_data_dir.sh "
        f"--utt-prefix {prefix} {part.path} DIR, or 'asvtk prepare --utt-prefix {prefix}'"
    )


def _refuse(path: Path, tables: dict[str, dict[str, str]]) -> None:
    for problem in wrong_meaning(path, tables):
        raise AsvtkError(f"{problem}; 'asvtk validate {path}' tells all that is wrong")
