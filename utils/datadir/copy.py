"""Copy a data directory, with other ids if wanted.

usage: copy_data_dir.sh [--utt-prefix P] [--utt-suffix S] [--spk-prefix P] [--spk-suffix S] SRC DST

  utils/copy_data_dir.sh --utt-prefix noisy- --spk-prefix noisy- data/train data/train_noisy

Other utterance ids are noted in utt2uniq, as Kaldi does: new id, old id. Where utt2spk is the identity
it stays so; speakers' prefixes then go to utt2speaker alone. The utterances that utt2source names get the
same prefix and suffix, also those of another directory: copy that one with the same options.
"""

from asvtk.io.datadir_rules import NO_SOURCE, SOURCES, kind_of
from datadir.command import Usage, options
from datadir.folder import Folder, write_folder

AFFIXES = ("utt-prefix", "utt-suffix", "spk-prefix", "spk-suffix")


def main(words) -> None:
    given, words = options(words, values=(*AFFIXES, "validate-opts"))
    if len(words) != 2:
        raise Usage("expected SRC and DST")
    folder = Folder(words[0])
    before, after, speaker_before, speaker_after = (given.get(name, "") for name in AFFIXES)
    if any(set(affix) & set(" \t\n") for affix in (before, after, speaker_before, speaker_after)):
        raise Usage("a prefix or suffix cannot hold white space")

    def utterance(key: str) -> str:
        return f"{before}{key}{after}"

    def speaker(key: str) -> str:
        return f"{speaker_before}{key}{speaker_after}"

    identity = all(key == value for key, value in folder.tables["utt2spk"].items())
    tables = {}
    for name, table in folder.subset(folder.utterances).items():
        kind = kind_of(name, folder.has_segments)
        rename = utterance if kind == "utterance" or identity and kind == "speaker" else speaker
        # Recordings keep their ids; without segments they are the utterances.
        tables[name] = table if kind == "recording" else {rename(key): value for key, value in table.items()}
    tables["utt2spk"] = {key: key if identity else speaker(value) for key, value in tables["utt2spk"].items()}
    if "utt2speaker" in tables:
        tables["utt2speaker"] = {key: speaker(value) for key, value in tables["utt2speaker"].items()}
    if SOURCES in tables:
        tables[SOURCES] = {
            key: value if value == NO_SOURCE else utterance(value) for key, value in tables[SOURCES].items()
        }
    if before or after:
        origin = folder.tables.get("utt2uniq", {})
        tables["utt2uniq"] = {utterance(key): origin.get(key, key) for key in folder.utterances}
    write_folder(words[1], tables, [folder.path / name for name in folder.of_the_set])
