"""Stage 1: a corpus in its own layout -> Kaldi data directories OUT/{train,dev,eval}.

asvtk prepare CORPUS OUT    of the sets that the corpus has
asvtk prepare --data DIR    completes a data directory made by hand: wav.scp, utt2spk, utt2label, utt2attack

A directory that is up to date is left as it is; one whose audio has changed since is written anew.
"""

from pathlib import Path

from asvtk.bin.arguments import whole_number
from asvtk.corpora import asvspoof2019_la
from asvtk.corpora.kaldi import complete_data_directory
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import read_stamp


def add_arguments(parser):
    parser.add_argument("corpus", nargs="?", metavar="CORPUS", help="the LA/ folder of the unpacked database")
    parser.add_argument("out", nargs="?", metavar="OUT", help="folder for the data directories")
    parser.add_argument(
        "--sets",
        nargs="+",
        choices=asvspoof2019_la.SPLITS,
        help="prepare these (default: all that are there)",
    )
    parser.add_argument("--data", metavar="DIR", help="complete this data directory instead")
    parser.add_argument(
        "--nj", type=whole_number(1), default=4, help="threads that read audio headers (default 4)"
    )
    parser.add_argument("--force", action="store_true", help="redo what stands there already")


def run(args):
    if args.data is not None:
        if args.corpus is not None or args.sets:
            raise AsvtkError(
                "--data DIR completes that directory alone: no CORPUS, OUT or --sets goes with it"
            )
        print(_summary(complete_data_directory(args.data, jobs=args.nj, force=args.force)))
    elif args.out is None:
        raise AsvtkError("expected CORPUS and OUT, or --data DIR; asvtk prepare --help tells more")
    else:
        _prepare_corpus(args)
    print("headers were read; 'asvtk validate --decode DIR' tells whether all audio decodes, and by what")


def _prepare_corpus(args) -> None:
    corpus, out = asvspoof2019_la.find_corpus(args.corpus), Path(args.out)
    there = asvspoof2019_la.find_splits(corpus)
    if args.sets is None and len(there) < len(asvspoof2019_la.SPLITS):
        print(f"note: {corpus}: holds audio of {' and '.join(there)} only")
    data = {}
    for split in args.sets or there:
        data[split] = asvspoof2019_la.prepare_split(corpus, split, out / split, args.nj, args.force)
        print(_summary(data[split]))
    for split in asvspoof2019_la.SPLITS:
        stamp = read_stamp(out / split / ".done")
        if split not in data and stamp:
            print(f"note: {out / split}: is left as it was made from {stamp.get('protocol')}")
    if difference := asvspoof2019_la.difference_from_official(data):
        print(f"note: {difference}")


def _summary(data: DataDirectory) -> str:
    bonafide, spoof = data.count_classes()
    return f"{data.path}: {bonafide + spoof} utterances, {bonafide} bona fide, {spoof} spoof"
