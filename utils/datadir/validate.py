"""Say all that is wrong with a data directory; exit 0 when nothing is.

usage: validate_data_dir.sh [--no-feats] [--no-text] [--no-wav] [--no-spk-sort] [--non-print] DIR

  --no-feats, --no-text, --no-wav    feats.scp, text, wav.scp need not be there
  --no-spk-sort    speakers need not be in the order of their utterances
  --non-print      text may hold characters that cannot be printed

Anti-spoofing needs no text: --no-text --no-feats is the usual call. A directory with utt2label must
also be what 'asvtk validate' asks for (labels, attacks, number of samples; with --no-wav, audio files
need not exist).
"""

import sys
from pathlib import Path

from asvtk.io.datadir import find_problems
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table
from datadir.command import Usage, options
from datadir.folder import kind_of, speakers_to_utterances


def main(words) -> int:
    given, words = options(
        reordered(words), switches=("no-feats", "no-text", "no-wav", "no-spk-sort", "non-print")
    )
    if len(words) != 1:
        raise Usage("expected DIR")
    path = Path(words[0])
    problems = problems_of(path, given)
    if (path / "utt2label").exists():
        problems += find_problems(path, check_audio=not given.get("no-wav"))
    for problem in dict.fromkeys(problems):
        print(f"validate_data_dir.sh: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"validate_data_dir.sh: Successfully validated data-directory {path}")
    return 0


def reordered(words: list[str]) -> list[str]:
    """Options first: Kaldi's tool takes them on both sides of DIR."""
    return sorted(words, key=lambda word: not word.startswith("--"))


def problems_of(path: Path, given: dict) -> list[str]:
    """What Kaldi would complain about, one line each."""
    if not path.is_dir():
        return [f"{path}: no such directory"]
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file() and entry.name[0] != ".")
    wanted = {"feats.scp": "no-feats", "text": "no-text", "wav.scp": "no-wav"}
    required = ["utt2spk", "spk2utt", *(name for name, option in wanted.items() if not given.get(option))]
    problems = [f"{path / name}: no such file" for name in required if name not in names]
    tables = {}
    for name in names:
        if name != "spk2utt" and kind_of(name, "segments" in names) == "set":
            continue
        try:
            tables[name] = read_table(path / name)
        except AsvtkError as error:
            problems.append(str(error))
            continue
        problems += form_problems(path / name, list(tables[name]))
    problems += agreement_problems(path, tables)
    problems += speaker_problems(path, tables, sort=not given.get("no-spk-sort"))
    if not given.get("non-print"):
        for key, value in tables.get("text", {}).items():
            if not value.isprintable():
                problems.append(f"{path / 'text'}: {key} has characters that cannot be printed (--non-print)")
    return problems


def speaker_problems(path: Path, tables: dict, sort: bool) -> list[str]:
    """spk2utt that does not fit utt2spk, and with ``sort`` speakers in another order than utterances."""
    problems = []
    utt2spk = tables.get("utt2spk", {})
    listed = {speaker: " ".join(value.split()) for speaker, value in tables.get("spk2utt", {}).items()}
    if listed and utt2spk and listed != speakers_to_utterances(utt2spk):
        problems.append(f"{path / 'spk2utt'}: does not fit utt2spk; fix_data_dir.sh {path} makes it anew")
    speakers = list(utt2spk.values())
    if sort and speakers != sorted(speakers):
        problems.append(
            f"{path / 'utt2spk'}: speakers are not in the order of their utterances: begin utterance ids "
            "with them, or make utt2spk the identity and keep speakers in utt2speaker (or --no-spk-sort)"
        )
    return problems


def form_problems(path: Path, keys: list[str]) -> list[str]:
    """Empty, unsorted, or without its last newline."""
    if not keys:
        return [f"{path}: is empty"]
    problems = []
    unsorted = [after for before, after in zip(keys, keys[1:], strict=False) if before > after]
    if unsorted:
        problems.append(f"{path}: {unsorted[0]}: not in LC_ALL=C order; fix_data_dir.sh {path.parent} sorts")
    if not path.read_bytes().endswith(b"\n"):
        problems.append(f"{path}: the last line has no newline")
    return problems


def agreement_problems(path: Path, tables: dict) -> list[str]:
    """Tables of utterances that do not list those of utt2spk."""
    reference = tables.get("utt2spk", {}).keys()
    problems = []
    for name, table in tables.items():
        if kind_of(name, "segments" in tables) != "utterance" or not reference:
            continue
        differences = {"lacks": reference - table.keys(), "alone has": table.keys() - reference}
        for what, keys in differences.items():
            if keys:
                problems.append(f"{path / name}: {what} {len(keys)} utterances, first {min(keys)}")
    return problems
