"""Join data directories.

usage: combine_data.sh [--extra-files 'NAME ...'] DST SRC...

Files that are not in every SRC are left out, and that is said. Two SRC must not have an utterance in
common; copy_data_dir.sh --utt-prefix gives one of them other ids. DST is replaced when all is well, and
only if it is a data directory. Files of a whole set (asv_scores, attack2kind) are kept where all SRC that
have one agree. --extra-files is Kaldi's and not needed: every file of utterances is carried.
"""

import filecmp
import os

from asvtk.io.datadir_rules import NO_SOURCE, SOURCES
from asvtk.io.errors import AsvtkError, listing
from datadir.command import Usage, options
from datadir.folder import Folder, write_folder


def main(words) -> None:
    _, words = options(words, values=("extra-files", "skip-fix"))
    if len(words) < 2:
        raise Usage("expected DST and at least one SRC")
    target, sources = words[0], [Folder(word) for word in words[1:]]
    if len({folder.has_segments for folder in sources}) > 1:
        raise AsvtkError("some of the directories have segments and some have none: they cannot be joined")
    if os.path.isdir(target) and any(os.path.samefile(target, folder.path) for folder in sources):
        raise AsvtkError(f"{target}: is to be replaced, so it cannot be joined too")
    if any("utt2uniq" in folder.tables for folder in sources):
        for folder in sources:  # the origin of an utterance that is no copy is the utterance
            folder.tables.setdefault("utt2uniq", {utterance: utterance for utterance in folder.utterances})
    if any(SOURCES in folder.tables for folder in sources):
        for folder in sources:  # vocoded spoofs stay known as such among others
            folder.tables.setdefault(SOURCES, dict.fromkeys(folder.utterances, NO_SOURCE))
    shared = set.intersection(*(set(folder.tables) for folder in sources))
    left_out = sorted(set().union(*(folder.tables for folder in sources)) - shared)
    tables: dict[str, dict[str, str]] = {name: {} for name in sorted(shared)}
    for folder in sources:
        for name, table in folder.subset(folder.utterances).items():
            if name in shared:
                merge(tables[name], table, folder.path / name)
    files = {}
    for name in sorted({name for folder in sources for name in folder.of_the_set}):
        copies = [folder.path / name for folder in sources if name in folder.of_the_set]
        if all(filecmp.cmp(copies[0], copy, shallow=False) for copy in copies):
            files[name] = copies[0]
        else:
            left_out.append(name)
    write_folder(target, tables, files.values())
    if left_out:
        print(f"combine_data.sh: left out, because not all have it or they differ: {' '.join(left_out)}")
    print(f"combine_data.sh: {target}: {len(tables['utt2spk'])} utterances")


def merge(into: dict, table: dict, path) -> None:
    """Add a table's lines. Raises AsvtkError for a key that is there with another value, or an utterance."""
    known = into.keys() & table.keys()
    wrong = {key for key in known if path.name == "utt2spk" or into[key] != table[key]}
    if wrong:
        raise AsvtkError(
            f"{path}: {listing(sorted(wrong), 3)} stand in another of the directories too; "
            "copy_data_dir.sh --utt-prefix gives other ids"
        )
    into.update(table)
