"""What a data directory must be: the rules that reading one, ``asvtk validate`` and Kaldi's tools share.

Reading refuses what would make a number wrong (`wrong_meaning`). Validating also tells what Kaldi's own
tools would stumble over (`kaldi_problems`): order, line ends, tables that do not agree.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table
from asvtk.io.text import parse_int, read_bytes, read_lines, split_blanks

__all__ = [
    "BONAFIDE", "FILES", "LABELS", "NO_ATTACK", "NO_SOURCE", "SOURCES", "SPOOF",
    "find_problems", "is_safe_id", "kaldi_problems", "kind_of", "missing_file", "speakers_to_utterances",
    "unsafe_ids", "wrong_meaning",
]  # fmt: skip

BONAFIDE, SPOOF = "bonafide", "spoof"
LABELS = (BONAFIDE, SPOOF)
NO_ATTACK = "-"
NO_SOURCE = "-"

#: every file that an utterance has a line in
FILES = ("wav.scp", "utt2spk", "utt2speaker", "utt2label", "utt2attack", "utt2num_samples", "utt2md5")
#: may stand beside them: the bona fide utterance that a vocoded spoof was made of; of all others NO_SOURCE
SOURCES = "utt2source"
#: those of FILES that a directory must bring; 'asvtk prepare --data' derives the others
BROUGHT = ("wav.scp", "utt2spk", "utt2label")
_OF_UTTERANCES = ("text", "feats.scp", "vad.scp", "segments", "wav.scp")  # besides utt2*
_OF_SPEAKERS = ("cmvn.scp",)  # besides spk2*
_SHOWN = 5  # of one fault in one file
_LONGEST_ID = 200  # bytes: ids become file names, with a suffix
_OFFSET = re.compile(r":\d+(\[[^]]*\])?$|\.ark$")


def kind_of(name: str, has_segments: bool) -> str:
    """What a file has lines for: ``utterance``, ``speaker``, ``recording``, or the whole ``set``."""
    if name == "wav.scp" and has_segments or name.startswith("reco2"):
        return "recording"
    if name.startswith("utt2") or name in _OF_UTTERANCES:
        return "utterance"
    if name.startswith("spk2") or name in _OF_SPEAKERS:
        return "speaker"
    return "set"


def speakers_to_utterances(utt2spk: dict[str, str]) -> dict[str, str]:
    """The table spk2utt."""
    spk2utt: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in spk2utt.items()}


def is_safe_id(name: str) -> bool:
    """Whether an utterance's id can be a file name and a field of any table.

    Not if it holds ``/``, a control character, white space of any script or an invisible mark, is longer
    than 200 bytes, or is ``.`` or ``..``.
    """
    return (
        name.isprintable()
        and not set(" /") & set(name)
        and len(name.encode()) <= _LONGEST_ID
        and name not in (".", "..")
    )


def unsafe_ids(names: list[str]) -> set[str]:
    """Those of many names that `is_safe_id` refuses."""
    together, longest = "".join(names), max(map(len, names), default=0)
    if together.isprintable() and not set(" /.") & set(together) and longest <= _LONGEST_ID // 4:
        return set() if all(names) else {""}
    return {name for name in set(names) if not is_safe_id(name)}


def find_problems(path, check_audio: bool = True) -> list[str]:
    """Everything that is wrong with a data directory, some lines at most for each fault; empty: it is sound.

    Args:
        path: the data directory.
        check_audio: also look whether every audio file exists.
    """
    path = Path(path)
    tables, problems = kaldi_problems(path, (*FILES, "spk2utt"))
    if not path.is_dir():
        return problems
    if (path / "attack2kind").exists():
        try:
            read_table(path / "attack2kind")
        except AsvtkError as error:
            problems.append(str(error))
    problems += wrong_meaning(path, tables)
    utt2spk = tables.get("utt2spk", {})
    problems += _bad_lines(
        path / "utt2spk",
        utt2spk,
        lambda key, value: key == value,
        "the utterance id itself (see utt2speaker)",
    )
    normal = {unicodedata.normalize("NFC", key) for key in utt2spk if not key.isascii()}
    if len(normal) < sum(not key.isascii() for key in utt2spk):
        problems.append(f"{path / 'utt2spk'}: two utterance ids are the same letters, composed in two ways")
    if check_audio:
        problems += _bad_lines(
            path / "wav.scp",
            tables.get("wav.scp", {}),
            lambda key, value: _is_file_name(value) is False or Path(value).is_file(),
            f"an existing audio file (relative paths begin here: {Path.cwd()})",
        )
    return problems


def wrong_meaning(path: Path, tables: dict[str, dict[str, str]]) -> Iterator[str]:
    """What in a data directory would make numbers wrong, one line each: reading it must refuse.

    Args:
        path: the data directory.
        tables: those of its files that could be read.
    """
    if (path / "segments").exists():
        yield (
            f"{path / 'segments'}: utterances are pieces of recordings there, and asvtk reads whole files; "
            "cut them into files (Kaldi's utils/data/extract_wav_segments_data_dir.sh)"
        )
    if (channels := path / "reco2file_and_channel").exists():
        yield from _bad_lines(
            channels,
            read_table(channels),
            lambda key, value: split_blanks(value)[-1] in ("A", "1"),
            "the only channel of a file (A): asvtk reads files of one channel",
        )
    wav, labels = tables.get("wav.scp", {}), tables.get("utt2label", {})
    yield from _bad_lines(
        path / "wav.scp", wav, lambda key, _: is_safe_id(key),
        f"before it an id that can be a file name: printable, without '/', at most {_LONGEST_ID} bytes",
    )  # fmt: skip
    yield from _bad_lines(
        path / "wav.scp", wav, lambda _, value: _is_file_name(value),
        "a path: commands are never run, and archives not read",
    )  # fmt: skip
    yield from _bad_lines(
        path / "utt2label", labels, lambda _, value: value in LABELS, f"one of {' '.join(LABELS)}"
    )
    yield from _bad_lines(
        path / "utt2attack", tables.get("utt2attack", {}),
        lambda key, value: key not in labels or (value == NO_ATTACK) == (labels[key] == BONAFIDE),
        f"{NO_ATTACK!r} for bona fide and an attack id for spoof",
    )  # fmt: skip
    yield from _bad_lines(
        path / SOURCES, tables.get(SOURCES, {}),
        lambda key, value: value == NO_SOURCE or labels.get(key) != BONAFIDE,
        f"{NO_SOURCE!r} for bona fide: it was made of no other utterance",
    )  # fmt: skip
    for name in ("utt2speaker", "utt2attack", "utt2md5", SOURCES):
        yield from _bad_lines(
            path / name, tables.get(name, {}),
            lambda _, value: value.isprintable() and " " not in value and value not in ("nan", "NaN"),
            "one printable word (nan is a missing value)",
        )  # fmt: skip
    yield from _bad_lines(
        path / "utt2num_samples", tables.get("utt2num_samples", {}),
        lambda _, value: _is_positive(value), "a positive number",
    )  # fmt: skip


def kaldi_problems(path: Path, required) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What Kaldi's own tools would complain about, in any data directory.

    Args:
        path: the data directory.
        required: names of files that must be there.

    Returns:
        name -> table, of all files with lines for utterances, speakers or recordings that could be read;
        and the problems, one line each.
    """
    if not path.is_dir():
        return {}, [f"{path}: no such directory"]
    names = {entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith(".")}
    problems = [_missing(path, name) for name in required if name not in names]
    has_segments, tables = "segments" in names, {}
    for name in sorted(names):
        if kind_of(name, has_segments) == "set":
            continue
        try:
            tables[name] = read_table(path / name)
        except AsvtkError as error:
            problems.append(str(error))
            continue
        problems += _form_problems(path / name, list(tables[name]))
    reference = tables.get("utt2spk") or ({} if has_segments else tables.get("wav.scp", {}))
    for name, table in tables.items():
        if kind_of(name, has_segments) == "utterance" and reference:
            differences = {
                "lacks": reference.keys() - table.keys(),
                "alone has": table.keys() - reference.keys(),
            }
            problems += [
                f"{path / name}: {what} {len(keys)} utterances, first {min(keys)}"
                for what, keys in differences.items()
                if keys
            ]
    if "spk2utt" in tables and "utt2spk" in tables:
        listed = {speaker: " ".join(split_blanks(value)) for speaker, value in tables["spk2utt"].items()}
        if listed != speakers_to_utterances(tables["utt2spk"]):
            problems.append(f"{path / 'spk2utt'}: does not fit utt2spk; {_fix(path)} makes it anew")
    return tables, problems


def missing_file(path: Path) -> str:
    """That a file of a data directory is missing, and what makes it."""
    hint = "" if path.name in BROUGHT else f"; 'asvtk prepare --data {path.parent}' adds what can be derived"
    return f"{path}: no such file{hint}"


def _missing(path: Path, name: str) -> str:
    return missing_file(path / name) if name in FILES else f"{path / name}: no such file"


def _form_problems(path: Path, keys: list[str]) -> list[str]:
    """How the file's bytes differ from what Kaldi's tools take."""
    if not keys:
        return [f"{path}: is empty"]
    problems = []
    pairs = enumerate(zip(keys, keys[1:], strict=False), 2)
    unsorted = next(
        (f"{n}: {after} comes after {before}" for n, (before, after) in pairs if before > after), ""
    )
    if unsorted:
        problems.append(f"{path}:{unsorted}: not in LC_ALL=C order")
    data = read_bytes(path)
    lines = data.split(b"\n")
    if path.stat().st_size != len(data):
        problems.append(f"{path}: is compressed")
    if data.startswith(b"\xef\xbb\xbf"):
        problems.append(f"{path}:1: begins with a byte order mark")
    if b"\r" in data:
        number = data.count(b"\n", 0, data.index(b"\r")) + 1
        problems.append(f"{path}:{number}: the line ends in a carriage return")
    if lines[-1]:
        problems.append(f"{path}:{len(lines)}: the last line has no newline")
    if blank := next((number for number, line in enumerate(lines[:-1], 1) if not line.strip()), 0):
        problems.append(f"{path}:{blank}: the line is blank")
    return [f"{problem}; {_fix(path.parent)} mends it" for problem in problems]


def _fix(path: Path) -> str:
    return f"utils/fix_data_dir.sh {path}"


def _bad_lines(
    path: Path, table: dict[str, str], test: Callable[[str, str], bool], expected: str
) -> Iterator[str]:
    bad = [key for key, value in table.items() if not test(key, value)]
    if bad:
        lines = enumerate(read_lines(path), 1)  # tables skip blank lines, so they have forgotten the numbers
        number_of = {key: number for number, line in lines for key in split_blanks(line, 2)[:1]}
    for key in bad[:_SHOWN]:
        name = key if key.isprintable() else repr(key)
        yield f"{path}:{number_of[key]}: {name} has {table[key]!r}, expected {expected}"
    if len(bad) > _SHOWN:
        yield f"{path}: and {len(bad) - _SHOWN} more lines like these"


def _is_file_name(value: str) -> bool:
    """Not a command, standard input, or a place in an archive (``raw.ark:123``)."""
    return not (value.endswith("|") or value.startswith("|") or value == "-" or _OFFSET.search(value))


def _is_positive(value: str) -> bool:
    try:
        return parse_int(value) > 0
    except ValueError:
        return False
