"""Sort the files of a data directory and leave out utterances that are not in all of them.

usage: fix_data_dir.sh [--utt-extra-files 'NAME ...'] [--spk-extra-files 'NAME ...'] DIR

Lines that stand twice count once; spk2utt is made anew; the files as they were go to DIR/.backup. A
directory of which nothing would be left is not touched. The options are Kaldi's and not needed: every
file of utterances or speakers takes part.
"""

import shutil
from pathlib import Path

from asvtk.io.datadir_rules import speakers_to_utterances
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import write_table
from asvtk.io.text import read_lines, split_blanks
from datadir.command import Usage, options
from datadir.folder import Folder


def main(words) -> None:
    _, words = options(words, values=("utt-extra-files", "spk-extra-files"))
    if len(words) != 1:
        raise Usage("expected DIR")
    folder = Folder(words[0], read=read_leniently)
    total = len(folder.tables["utt2spk"])
    kept = set(folder.tables["utt2spk"])
    for table in folder.named("utterance").values():
        kept &= table.keys()
    if folder.has_segments:
        recordings = set.intersection(*(set(table) for table in folder.named("recording").values()))
        kept = {u for u in kept if split_blanks(folder.tables["segments"][u])[0] in recordings}
    speakers = [set(table) for table in folder.named("speaker").values()]
    kept = {u for u in kept if all(folder.tables["utt2spk"][u] in of for of in speakers)}
    if not kept:
        names = " ".join(folder.named("utterance"))
        raise AsvtkError(f"{folder.path}: no utterance is in all of {names}; nothing was changed")
    tables = folder.subset(sorted(kept))
    tables["spk2utt"] = speakers_to_utterances(tables["utt2spk"])
    changed = [name for name, table in tables.items() if not is_written(folder.path / name, table)]
    for name in changed:
        if (folder.path / name).exists():
            (folder.path / ".backup").mkdir(exist_ok=True)
            shutil.copy2(folder.path / name, folder.path / ".backup" / name)
        write_table(folder.path / name, tables[name])
    print(f"fix_data_dir.sh: kept {len(kept)} utterances out of {total}")
    if changed:
        print(f"fix_data_dir.sh: old files are kept in {folder.path}/.backup")


def is_written(path: Path, table: dict) -> bool:
    text = "".join(f"{key} {table[key]}\n" for key in sorted(table))
    return path.exists() and path.read_bytes() == text.encode()


def read_leniently(path: Path) -> dict[str, str]:
    """As ``read_table``, but a line may stand twice, and one without a value is left out.

    Raises:
        AsvtkError: a key stands twice with different values: which is right, nobody can know.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = split_blanks(line, 2)
        if len(fields) < 2:
            continue
        key, value = fields
        if table.setdefault(key, value) != value:
            raise AsvtkError(f"{path}:{number}: {key} has another value here than before; remove one line")
    return table
