"""Long recordings of bona fide speech with spoofed stretches spliced in, to test who finds them.

OUT is a data directory, with segments.rttm (what is bona fide and what spoofed), utt2spoofshare and
pieces.tsv (which piece comes from where, and how it is joined). egs/partial/run.sh makes and evaluates one.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

from asvtk.bin.arguments import UsageError, between, whole_number
from asvtk.io.datadir import DataDirectory

EXAMPLES = """\
  asvtk splice --data data/eval --out data/partial
  asvtk splice --data data/eval --out data/calls --recordings 500 --duration 60 300 --stretch 1 30
"""

_DAY = 86_400.0


def add_arguments(parser) -> None:
    def option(name, default, help, **more):
        shown = " ".join(f"{value:g}" for value in (default if isinstance(default, list) else [default]))
        parser.add_argument(name, default=default, help=f"{help} (default: {shown})", **more)

    share, span = between(0, 1, ends=True), {"nargs": 2, "metavar": ("MIN", "MAX")}
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory of both classes")
    parser.add_argument("--out", required=True, metavar="DIR", help="data directory to write")
    option("--recordings", 100, "how many to make", type=whole_number(1, 1_000_000), metavar="N")
    option("--duration", [20.0, 180.0], "seconds of a recording", type=between(0, _DAY), **span)
    option("--stretch", [0.5, 60.0], "seconds of a spoofed stretch", type=between(0, _DAY), **span)
    option("--stretches", 4, "most in a recording", type=whole_number(1, 1000), metavar="N")
    option("--bonafide-share", 0.3, "share of recordings without spoofs", type=share, metavar="R")
    option("--spoof-share", 0.1, "share of recordings that are spoofed all through", type=share, metavar="R")
    option("--fade", [10.0, 50.0], "milliseconds of a cross-fade", type=between(0, 1000), **span)
    option("--fade-share", 0.5, "share of joints that are cross-faded, not cut", type=share, metavar="R")
    parser.add_argument("--no-level", action="store_true", help="leave the pieces' levels as they are")
    option("--seed", 1, "of all that is drawn", type=whole_number(), metavar="S")
    option("--nj", 4, "processes", type=whole_number(1), metavar="N")
    parser.add_argument("--force", action="store_true", help="make again what is there")


def run(args) -> None:
    from asvtk.corpora.splice_plan import SpliceConfig
    from asvtk.corpora.splicing import splice_set

    try:
        config = SpliceConfig(
            recordings=args.recordings,
            duration=tuple(args.duration),
            stretch=tuple(args.stretch),
            stretches=args.stretches,
            bonafide_share=args.bonafide_share,
            spoof_share=args.spoof_share,
            fade=tuple(args.fade),
            fade_share=args.fade_share,
            match_level=not args.no_level,
            seed=args.seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    data, recordings = splice_set(DataDirectory.read(args.data), config, args.out, args.nj, args.force)
    bonafide, spoof = data.count_classes()
    hours = sum(of.num_samples for of in recordings) / 16_000 / 3600
    spoofed = sum(of.spoof_share * of.num_samples for of in recordings) / 16_000 / 3600
    whole = sum(of.spoof_share == 1 for of in recordings)
    print(
        f"{data.path}: {hours:.2f} hours, {spoofed:.2f} of them spoofed; {len(recordings)} recordings: "
        f"{bonafide} bona fide, {spoof - whole} spoofed in part, {whole} spoofed all through"
    )
