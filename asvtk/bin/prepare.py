"""Stage 1: a corpus in its own layout -> Kaldi data directories OUT/{train,dev,eval}.

A directory that is up to date is left as it is.
"""

from pathlib import Path

from asvtk.corpora import asvspoof2019_la


def add_arguments(parser):
    parser.add_argument("corpus", metavar="CORPUS", help="the LA/ folder of the unpacked database")
    parser.add_argument("out", metavar="OUT", help="folder for the data directories")
    parser.add_argument("--nj", type=int, default=4, help="threads that read audio headers (default 4)")
    parser.add_argument("--force", action="store_true", help="redo what stands there already")


def run(args):
    corpus = asvspoof2019_la.find_corpus(args.corpus)
    data = {}
    for split in asvspoof2019_la.SPLITS:
        out = Path(args.out) / split
        data[split] = asvspoof2019_la.prepare_split(corpus, split, out, jobs=args.nj, force=args.force)
        bonafide, spoof = data[split].count_classes()
        print(f"{out}: {bonafide + spoof} utterances, {bonafide} bona fide, {spoof} spoof")
    if difference := asvspoof2019_la.difference_from_official(data):
        print(f"note: {difference}")
