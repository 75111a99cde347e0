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

from asvtk.io.datadir_rules import find_problems, kaldi_problems
from datadir.command import Usage, options


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
    wanted = {"feats.scp": "no-feats", "text": "no-text", "wav.scp": "no-wav"}
    required = ["utt2spk", "spk2utt", *(name for name, option in wanted.items() if not given.get(option))]
    tables, problems = kaldi_problems(path, required)
    speakers = list(tables.get("utt2spk", {}).values())
    if not given.get("no-spk-sort") and speakers != sorted(speakers):
        problems.append(
            f"{path / 'utt2spk'}: speakers are not in the order of their utterances: begin utterance ids "
            "with them, or make utt2spk the identity and keep speakers in utt2speaker (or --no-spk-sort)"
        )
    if not given.get("non-print"):
        for key, value in tables.get("text", {}).items():
            if not value.isprintable():
                problems.append(f"{path / 'text'}: {key} has characters that cannot be printed (--non-print)")
    return problems
