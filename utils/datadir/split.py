"""Split a data directory into n parts for n jobs.

usage: split_data.sh [--per-utt] DIR N

  utils/split_data.sh data/train 8          # data/train/split8/1 ... data/train/split8/8
  utils/split_data.sh --per-utt data/train 8    # data/train/split8utt/1 ...

Parts are neighbours in the order of the utterances. Without --per-utt, utterances that have the same
speaker in utt2spk stay together. Nothing is done while the parts fit the directory: its files' contents
are compared, not their dates.
"""

from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from datadir.command import Usage, options, positive
from datadir.folder import Folder, replaced_folder, write_folder

STAMP = ".done"


def main(words) -> None:
    given, words = options(words, switches=("per-utt",))
    if len(words) != 2:
        raise Usage("expected DIR and N")
    count = positive(words[1], "N")
    per_utterance = given.get("per-utt", False)
    folder = Folder(words[0])
    groups = [[u] for u in folder.utterances] if per_utterance else by_speaker(folder)
    if count > len(groups):
        what = "utterances" if per_utterance else "speakers in utt2spk"
        raise AsvtkError(
            f"{folder.path}: has {len(groups)} {what}, too few for {count} parts; use a smaller nj"
        )
    out = folder.path / f"split{count}{'utt' if per_utterance else ''}"
    names = [*folder.tables, *folder.of_the_set]
    basis = {name: file_digest(folder.path / name) for name in names}
    if read_stamp(out / STAMP) == basis:
        return
    with replaced_folder(out) as new:
        for number, part in enumerate(parts(groups, count), 1):
            write_folder(new / str(number), folder.subset(part), [folder.path / n for n in folder.of_the_set])
        write_stamp(new / STAMP, basis)


def by_speaker(folder: Folder) -> list[list[str]]:
    """The utterances of each speaker of utt2spk."""
    groups: dict[str, list[str]] = {}
    for utterance in folder.utterances:
        groups.setdefault(folder.tables["utt2spk"][utterance], []).append(utterance)
    return [groups[speaker] for speaker in sorted(groups)]


def parts(groups: list[list[str]], count: int) -> list[list[str]]:
    """The groups in ``count`` runs of about as many utterances, none of them empty."""
    total, done, result = sum(map(len, groups)), 0, [[] for _ in range(count)]
    at = 0
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        # On to the next part when this one has its share, or when each group left is needed for a part.
        full = done * count >= total * (at + 1)
        if result[at] and (full or left <= count - 1 - at) and at < count - 1:
            at += 1
        result[at] += group
        done += len(group)
    return result
