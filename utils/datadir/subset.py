"""Make a smaller data directory.

usage: subset_data_dir.sh [--first | --last | --shortest | --speakers | --per-spk] SRC N DST
       subset_data_dir.sh --utt-list FILE SRC DST
       subset_data_dir.sh --spk-list FILE SRC DST

  (nothing)     N utterances, evenly spaced over SRC
  --first, --last       the first or last N
  --shortest    the N shortest, by utt2num_samples, utt2num_frames or utt2dur
  --speakers    all utterances of some speakers, at least N; the same ones each time
  --per-spk     N utterances of each speaker, evenly spaced; all of one who has fewer
  --utt-list, --spk-list    those that FILE names, in its first column

Speakers are those of utt2speaker, if there is one, else of utt2spk.
"""

import random

from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_float, read_lines, split_blanks
from datadir.command import Usage, options, positive
from datadir.folder import Folder, evenly_spaced, write_folder

HOW = ("first", "last", "shortest", "speakers", "per-spk")


def main(words) -> None:
    given, words = options(words, values=("utt-list", "spk-list"), switches=HOW)
    given = {name: value for name, value in given.items() if value is not False}
    if len(given) > 1:
        raise Usage(f"--{' and --'.join(given)} exclude each other")
    how = next(iter(given), "")
    if how.endswith("-list"):
        if len(words) != 2:
            raise Usage(f"--{how} FILE takes SRC and DST")
        source, target = words
        folder = Folder(source)
        chosen = listed(folder, how, given[how])
    else:
        if len(words) != 3:
            raise Usage("expected SRC, N and DST")
        source, number, target = words
        folder = Folder(source)
        chosen = choose(folder, how, positive(number, "N"))
    write_folder(target, folder.subset(sorted(chosen)), [folder.path / name for name in folder.of_the_set])


def choose(folder: Folder, how: str, count: int) -> list[str]:
    """The utterances that an option and a number ask for."""
    utterances = folder.utterances
    if count > len(utterances) and how != "per-spk":
        raise AsvtkError(f"{folder.path}: has {len(utterances)} utterances, not {count}")
    if how in ("first", "last"):
        return utterances[:count] if how == "first" else utterances[-count:]
    if how == "shortest":
        lengths = length_of(folder)
        return sorted(utterances, key=lambda utterance: (lengths[utterance], utterance))[:count]
    if how in ("speakers", "per-spk"):
        groups: dict[str, list[str]] = {}
        for utterance in utterances:
            groups.setdefault(folder.speaker_of[utterance], []).append(utterance)
        if how == "per-spk":
            return [u for group in groups.values() for u in evenly_spaced(group, min(count, len(group)))]
        speakers, chosen = sorted(groups), []
        random.Random(0).shuffle(speakers)
        while len(chosen) < count:
            chosen += groups[speakers.pop()]
        return chosen
    return evenly_spaced(utterances, count)


def length_of(folder: Folder) -> dict[str, float]:
    for name in ("utt2num_samples", "utt2num_frames", "utt2dur"):
        if name in folder.tables:
            try:
                return {u: parse_float(value) for u, value in folder.tables[name].items()}
            except ValueError as error:
                raise AsvtkError(f"{folder.path / name}: {error}") from None
    raise AsvtkError(
        f"{folder.path}: has no utt2num_samples, utt2num_frames or utt2dur to find the shortest by"
    )


def listed(folder: Folder, how: str, file: str) -> list[str]:
    """The utterances that a file names, or those of the speakers that it names."""
    wanted = {field for line in read_lines(file) for field in split_blanks(line, 2)[:1]}
    key = (
        folder.speaker_of if how == "spk-list" else {utterance: utterance for utterance in folder.utterances}
    )
    chosen = [utterance for utterance in folder.utterances if key[utterance] in wanted]
    if not chosen:
        raise AsvtkError(f"{file}: names nothing that {folder.path} has")
    return chosen
