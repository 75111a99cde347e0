"""Kaldi data directories for anti-spoofing: Kaldi's files plus three of our own.

``wav.scp`` (path), ``utt2spk`` and ``spk2utt`` (the identity: official utterance ids stay as they
are, and Kaldi's own tools, which want speaker-prefixed ids, still accept the directory),
``utt2speaker`` (the true speaker), ``utt2label`` (``bonafide`` | ``spoof``), ``utt2attack`` (``-``
for bona fide), ``utt2num_samples`` and ``utt2md5`` (which audio this is). Beside them may stand
``attack2kind`` (TTS, VC ...) and ``asv_scores``, the scores of the ASV system that the t-DCF needs.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import digest
from asvtk.io.tables import read_table, write_table

__all__ = ["BONAFIDE", "LABELS", "NO_ATTACK", "SPOOF", "DataDirectory", "find_problems"]

BONAFIDE, SPOOF = "bonafide", "spoof"
LABELS = (BONAFIDE, SPOOF)
NO_ATTACK = "-"

#: every file that an utterance has a line in
FILES = ("wav.scp", "utt2spk", "utt2speaker", "utt2label", "utt2attack", "utt2num_samples", "utt2md5")


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
            AsvtkError: it is missing, or its files do not agree; ``asvtk validate`` tells more.
        """
        path = Path(path)
        if not path.is_dir():
            raise AsvtkError(
                f"{path}: no such data directory; run stage 1 first: ./run.sh --stage 1 --stop-stage 1"
            )
        tables = {name: read_table(path / name) for name in FILES if name != "utt2spk"}
        keys = list(tables["wav.scp"])
        for name, table in tables.items():
            if list(table) != keys:
                raise AsvtkError(
                    f"{path}: {name} and wav.scp do not list the same utterances in the same order; "
                    f"'asvtk validate {path}' says where"
                )
        return cls(
            path=path,
            wav=tables["wav.scp"],
            speaker=tables["utt2speaker"],
            label=tables["utt2label"],
            attack=tables["utt2attack"],
            num_samples=_integers(path / "utt2num_samples", tables["utt2num_samples"]),
            md5=tables["utt2md5"],
        )


_TABLES = [field.name for field in fields(DataDirectory) if field.name != "path"]


def _integers(path: Path, table: dict[str, str]) -> dict[str, int]:
    try:
        return {key: int(value) for key, value in table.items()}
    except ValueError as error:
        raise AsvtkError(f"{path}: {error}; 'asvtk validate {path.parent}' says where") from None


def find_problems(path, check_audio: bool = True) -> list[str]:
    """Everything that is wrong with a data directory, one line each; empty when it is sound.

    Args:
        path: the data directory.
        check_audio: also look whether every audio file exists.
    """
    path = Path(path)
    if not path.is_dir():
        return [f"{path}: no such directory"]
    problems = []
    tables = {}
    for name in FILES + ("spk2utt",):
        try:
            tables[name] = read_table(path / name)
        except AsvtkError as error:
            problems.append(str(error))
            continue
        problems += _form_problems(path / name, list(tables[name]))
    problems += _agreement_problems(path, tables)
    problems += _value_problems(path, tables, check_audio)
    return problems


def _form_problems(path: Path, keys: list[str]) -> list[str]:
    problems = []
    if not keys:
        problems.append(f"{path}: is empty")
    for number, (before, after) in enumerate(zip(keys, keys[1:], strict=False), 2):
        if before > after:
            problems.append(f"{path}:{number}: {after} comes after {before}: not in LC_ALL=C order")
            break
    with open(path, "rb") as stream:
        if keys and not stream.read().endswith(b"\n"):
            problems.append(f"{path}:{len(keys)}: the last line has no newline")
    return problems


def _agreement_problems(path: Path, tables: dict) -> list[str]:
    problems = []
    reference = tables.get("wav.scp")
    if reference is None:
        return problems
    for name, table in tables.items():
        missing = [key for key in reference if key not in table]
        extra = [key for key in table if key not in reference]
        if missing:
            problems.append(
                f"{path / name}: {len(missing)} utterances of wav.scp are missing, first {missing[0]}"
            )
        if extra:
            problems.append(f"{path / name}: {len(extra)} utterances are not in wav.scp, first {extra[0]}")
    return problems


def _value_problems(path: Path, tables: dict, check_audio: bool) -> list[str]:
    def bad(name, test, expected):
        for number, (key, value) in enumerate(tables.get(name, {}).items(), 1):
            if not test(key, value):
                yield f"{path / name}:{number}: {key} has {value!r}, expected {expected}"

    labels = tables.get("utt2label", {})

    def attack_fits_label(key, value):
        return key not in labels or (value == NO_ATTACK) == (labels[key] == BONAFIDE)

    problems = []
    problems += bad("utt2label", lambda key, value: value in LABELS, f"one of {' '.join(LABELS)}")
    problems += bad(
        "utt2attack", attack_fits_label, f"{NO_ATTACK!r} for bona fide and an attack id for spoof"
    )
    problems += bad("utt2spk", lambda key, value: key == value, "the utterance id itself (see utt2speaker)")
    problems += bad(
        "utt2num_samples", lambda key, value: value.isdigit() and int(value) > 0, "a positive number"
    )
    problems += bad("wav.scp", lambda key, value: not value.endswith("|"), "a path: commands are never run")
    if check_audio:
        problems += bad(
            "wav.scp",
            lambda key, value: value.endswith("|") or Path(value).is_file(),
            "an existing audio file",
        )
    return problems
