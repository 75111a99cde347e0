"""Kaldi data directories for anti-spoofing: Kaldi's files plus three of our own.

``wav.scp`` (path), ``utt2spk`` and ``spk2utt`` (the identity: official utterance ids stay as they
are, and Kaldi's own tools, which want speaker-prefixed ids, still accept the directory),
``utt2speaker`` (the true speaker), ``utt2label`` (``bonafide`` | ``spoof``), ``utt2attack`` (``-``
for bona fide), ``utt2num_samples`` and ``utt2md5`` (which audio this is). Beside them may stand
``utt2source`` (the bona fide utterance that a vocoded spoof was made of, ``-`` for all others),
``attack2kind`` (TTS, VC ...) and ``asv_scores``, the scores of the ASV system that the t-DCF needs.
"""

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

__all__ = ["BONAFIDE", "LABELS", "NO_ATTACK", "SPOOF", "DataDirectory", "find_problems"]


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
        """The data set's name, as the feature cache and the score files use it: ``train`` ..."""
        return self.path.name

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

    def subset(self, utterances) -> "DataDirectory":
        """Some of the utterances, in order; it goes by the same path."""
        chosen = sorted(utterances)
        tables = {name: {u: getattr(self, name)[u] for u in chosen} for name in _TABLES}
        return replace(self, **tables, source={u: self.source[u] for u in chosen if u in self.source})

    @classmethod
    def union(cls, parts: list["DataDirectory"]) -> "DataDirectory":
        """Several as one, which goes by the path of the first.

        Raises:
            AsvtkError: an utterance is in two of them.
        """
        owner = {}
        for part in parts:
            for utterance in part.utterances:
                if utterance in owner:
                    raise AsvtkError(
                        f"{part.path}: {utterance} is also in {owner[utterance]}; sets that are used "
                        "together must not share utterance ids"
                    )
                owner[utterance] = part.path
        tables = {}
        for name in [*_TABLES, "source"]:
            values = {u: value for part in parts for u, value in getattr(part, name).items()}
            tables[name] = {utterance: values[utterance] for utterance in sorted(values)}
        return cls(path=parts[0].path, **tables)

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


def _refuse(path: Path, tables: dict[str, dict[str, str]]) -> None:
    for problem in wrong_meaning(path, tables):
        raise AsvtkError(f"{problem}; 'asvtk validate {path}' tells all that is wrong")
