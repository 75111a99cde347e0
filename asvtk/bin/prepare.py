"""Stage 1: a corpus in its own layout -> Kaldi data directories OUT/SET.

asvtk prepare CORPUS OUT                        ASVspoof 2019 LA: OUT/{train,dev,eval}, of the sets it has
asvtk prepare --corpus in_the_wild CORPUS OUT   any that 'asvtk corpora ls' lists, or your own description
asvtk prepare --table clips.csv OUT --columns path=file,label=class,attack=system,set=split \\
              --labels bonafide=human,spoof=tts    anybody's own table, audio of any kind
asvtk prepare --list corpora.yaml OUT           several of these: OUT/NAME-SET
asvtk prepare --data DIR                        completes a data directory made by hand: wav.scp, utt2spk,
                                                utt2label, utt2attack

A directory that is up to date is left as it is; one whose audio has changed since is written anew. Corpora
whose audio is of any kind are converted to 16 kHz, mono, 16 bit, into OUT/SET/audio.
"""

from pathlib import Path

from asvtk.bin.arguments import UsageError, assignments, key_words, whole_number
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk prepare /corpora/LA data
      ASVspoof 2019 LA -> data/train, data/dev, data/eval
  asvtk prepare --corpus in_the_wild /corpora/release_in_the_wild data
  asvtk prepare --table clips.csv data --columns path=file,label=class --labels bonafide=human,spoof=tts
      clips of your own, audio of any kind
"""

DEFAULT = "asvspoof2019_la"
_OF_TABLES = ("columns", "labels", "root")
_OF_CORPORA = ("sets", "version", "also", "no_audio")


def add_arguments(parser):
    parser.add_argument(
        "corpus_folder", nargs="?", metavar="CORPUS", help="the folder of the unpacked corpus"
    )
    parser.add_argument("out", nargs="?", metavar="OUT", help="folder for the data directories")
    parser.add_argument("--corpus", metavar="NAME", help=f"which corpus it is (default: {DEFAULT})")
    parser.add_argument(
        "--sets", nargs="+", metavar="SET", help="prepare these (default: all that are there)"
    )
    parser.add_argument("--version", metavar="V", help="of a corpus that has several")
    also = "folders of other corpora that belong to it, as m_ailabs=DIR,..."
    parser.add_argument("--also", type=assignments, metavar="NAME=DIR,...", help=also)
    parser.add_argument("--table", metavar="FILE", help="instead of CORPUS: a table of clips, with a header")
    named = "the table's columns: path and label; attack, speaker, set; others become utt2NAME"
    parser.add_argument("--columns", type=assignments, metavar="OURS=THEIRS,...", help=named)
    words = "what words of the label mean, each as often as needed"
    parser.add_argument("--labels", type=key_words, metavar="bonafide=WORD,spoof=WORD", help=words)
    parser.add_argument("--root", metavar="DIR", help="where paths in the table begin (default: its folder)")
    parser.add_argument(
        "--list", metavar="FILE", help="several corpora and tables (YAML; see docs/corpora.md)"
    )
    parser.add_argument("--data", metavar="DIR", help="complete this data directory instead")
    parser.add_argument("--prefix", metavar="P", help="the directories are OUT/P..., as wild-")
    parser.add_argument("--utt-prefix", metavar="P", help="of utterance ids")
    alone = "the key alone: tables that evaluation needs, without looking for audio"
    parser.add_argument("--no-audio", action="store_true", help=alone)
    skip = "leave out utterances whose audio is missing or cannot be read"
    parser.add_argument("--skip-bad", action="store_true", help=skip)
    parser.add_argument(
        "--nj", type=whole_number(1), default=4, help="threads that read or convert audio (default 4)"
    )
    parser.add_argument("--force", action="store_true", help="redo what stands there already")


def run(args):
    if args.no_audio and args.skip_bad:
        raise UsageError("--no-audio looks for no audio, so --skip-bad has nothing to leave out")
    if args.data is not None:
        others = (args.corpus_folder, args.sets, args.corpus, args.table, args.list)
        if any(other is not None for other in others):
            raise AsvtkError(
                "--data DIR completes that directory alone: no CORPUS, OUT, --sets, --table or --list goes "
                "with it"
            )
        from asvtk.corpora.kaldi import complete_data_directory

        print(_summary(complete_data_directory(args.data, jobs=args.nj, force=args.force)))
    elif args.list is not None or args.table is not None:
        if args.out is not None:
            raise UsageError("--table and --list take the place of CORPUS: give OUT alone")
        if args.corpus_folder is None:
            raise UsageError("expected OUT, the folder for the data directories")
        args.out = args.corpus_folder
        (_prepare_list if args.list is not None else _prepare_table)(args)
    elif args.out is None:
        raise AsvtkError(
            "expected CORPUS and OUT, --table, --list or --data; asvtk prepare --help tells more"
        )
    else:
        _refuse(args, "CORPUS", _OF_TABLES)
        from asvtk.corpora.corpus import open_corpus

        name = args.corpus or DEFAULT
        _prepare(args, open_corpus(name, args.corpus_folder, args.version, args.also))
    if not args.no_audio:
        print("headers were read; 'asvtk validate --decode DIR' tells whether all audio decodes, and by what")


def _refuse(args, form: str, options) -> None:
    for option in options:
        if getattr(args, option) not in (None, False):
            raise UsageError(f"--{option.replace('_', '-')} does not go with {form}")


def _prepare_table(args) -> None:
    from asvtk.corpora.tables import open_table

    _refuse(args, "--table", ("corpus", "version", "also", "list"))
    if args.columns is None:
        raise UsageError("--table FILE needs --columns path=NAME,label=NAME: what its columns are called")
    _prepare(args, open_table(args.table, args.columns, args.labels, args.root))


def _prepare_list(args) -> None:
    from asvtk.corpora.collection import read_collection

    _refuse(args, "--list", ("corpus", "table", "prefix", "utt_prefix", *_OF_TABLES, *_OF_CORPORA))
    for entry in read_collection(args.list):
        args.prefix, args.sets, args.utt_prefix = f"{entry.name}-", entry.sets, entry.utt_prefix
        _prepare(args, entry.open())


def _prepare(args, corpus) -> None:
    from asvtk.corpora.preparation import difference_from_official, find_sets, prepare_key, prepare_set
    from asvtk.io.stamps import read_stamp

    out, described = Path(args.out), corpus.description
    there = list(args.sets or find_sets(corpus, with_audio=not args.no_audio))
    usual = [name for name, of_set in described.sets.items() if of_set.default]
    if args.sets is None and len(there) < len(usual):
        what = "the key" if args.no_audio else "audio"
        print(f"note: {corpus.folder}: holds {what} of {' and '.join(there)} only")
    for name in [name for name in described.also if name not in corpus.also]:
        print(f"note: {described.title}: without {described.also[name]}; --also {name}=DIR adds it")
    counts = {}
    for name in there:
        folder = _folder(out, args.prefix or "", name, described.has_sets)
        if args.no_audio:
            counts[name] = prepare_key(corpus, name, folder, args.force, args.utt_prefix or "")
            print(f"{folder}: {_counted(*counts[name])}; the key alone")
        else:
            data = prepare_set(
                corpus, name, folder, args.nj, args.force, args.skip_bad, args.utt_prefix or ""
            )
            counts[name] = data.count_classes()
            print(_summary(data))
    for name in described.sets:
        folder = _folder(out, args.prefix or "", name, described.has_sets)
        if name not in counts and (stamp := read_stamp(folder / ".done")):
            print(f"note: {folder}: is left as it was made from {stamp.get('protocol')}")
    if difference := difference_from_official(corpus, counts):
        print(f"note: {difference}")


def _folder(out: Path, prefix: str, name: str, has_sets: bool) -> Path:
    """OUT/SET; of a table without sets OUT itself, or OUT/PREFIX."""
    if has_sets:
        return out / f"{prefix}{name}"
    return out / prefix.rstrip("-_") if prefix else out


def _summary(data: DataDirectory) -> str:
    skipped = data.path / "skipped"
    left_out = f"; left out: see {skipped}" if skipped.exists() else ""
    return f"{data.path}: {_counted(*data.count_classes())}{left_out}"


def _counted(bonafide: int, spoof: int) -> str:
    return f"{bonafide + spoof} utterances, {bonafide} bona fide, {spoof} spoof"
