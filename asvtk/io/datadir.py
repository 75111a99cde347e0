"""Kaldi data directories for anti-spoofing: Kaldi's files plus three of our own.

``wav.scp`` (path), ``utt2spk`` and ``spk2utt`` (the identity: official utterance ids stay as they
are, and Kaldi's own tools, which want speaker-prefixed ids, still accept the directory),
``utt2speaker`` (the true speaker), ``utt2label`` (``bonafide`` | ``spoof``), ``utt2attack`` (``-``
for bona fide), ``utt2num_samples`` and ``utt2md5`` (which audio this is). Beside them may stand
``attack2kind`` (TTS, VC ...) and ``asv_scores``, the scores of the ASV system that the t-DCF needs.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from asvtk.io.datadir_rules import (
    BONAFIDE,
    FILES,
    LABELS,
    NO_ATTACK,
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
    """The utterances of one data set. All tables have the same keys, in sorted order."""

    path: Path
    wav: dict[str, str]
    speaker: dict[str, str]
    label: dict[str, str]
    attack: dict[str, str]
    num_samples: dict[str, int]
    md5: dict[str, str]

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
        """Tells this data set from any other: utterances, labels, attacks, audio."""
        return digest([self.label, self.attack, self.md5])

    def subset(self, utterances) -> "DataDirectory":
        """Some of the utterances, in order; it goes by the same path."""
        chosen = sorted(utterances)
        tables = {name: getattr(self, name) for name in _TABLES}
        return DataDirectory(self.path, **{name: {u: of[u] for u in chosen} for name, of in tables.items()})

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
        for name in _TABLES:
            values = {u: value for part in parts for u, value in getattr(part, name).items()}
            tables[name] = {utterance: values[utterance] for utterance in sorted(values)}
        return cls(path=parts[0].path, **tables)

    @property
    def asv_scores(self) -> Path:
        """Where the ASV scores stand, if the corpus has any."""
        return self.path / "asv_scores"

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
        )


_TABLES = [field.name for field in fields(DataDirectory) if field.name != "path"]


def _refuse(path: Path, tables: dict[str, dict[str, str]]) -> None:
    for problem in wrong_meaning(path, tables):
        raise AsvtkError(f"{problem}; 'asvtk validate {path}' tells all that is wrong")
