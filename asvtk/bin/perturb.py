"""A copy of a data directory without a shortcut: to see whether a result rests on it.

  level     the same RMS for every clip
  trim      no silence before and behind
  lowpass   nothing above 7 kHz

Utterances keep their ids. Several changes come one after another. local/robustness.sh scores the copies.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

from pathlib import Path

from asvtk.bin.arguments import whole_number
from asvtk.io.datadir import DataDirectory

#: as asvtk.augment.perturbation has them, whose import takes a second
CHANGES = ("level", "trim", "lowpass")


def add_arguments(parser):
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory, such as data/eval")
    parser.add_argument("--how", required=True, nargs="+", choices=CHANGES, help="what to change")
    parser.add_argument("--out", metavar="DIR", help="data directory to write (default: DATA_HOW)")
    parser.add_argument("--nj", type=whole_number(1), default=4, help="processes (default 4)")
    parser.add_argument("--force", action="store_true", help="make again what is there")


def run(args):
    from asvtk.augment.perturbation import perturb_set

    path = Path(args.data)
    out = Path(args.out) if args.out else path.with_name("_".join([path.name, *args.how]))
    data = perturb_set(DataDirectory.read(path), args.how, out, args.nj, args.force)
    print(f"{out}: {len(data.utterances)} utterances")
