"""Degraded copies of a data directory: shortcuts taken away, codecs, lines, noise, rooms.

  asvtk perturb --data data/eval --how level
      one copy, data/eval_level; several degradations come one after another: --how telephone amr:12.2k
  asvtk perturb --data data/eval --grid default --out data/eval_robustness
      one copy for each cell of a grid, OUT/eval_mp3-32k ...; GRID.yaml names one of your own

  mp3:32k aac:24k opus:8k vorbis:2    coded and decoded by the codec itself, in time with the original
  g722 alaw ulaw g726:32k gsm amr:12.2k    the same; all but g722 at 8 kHz
  telephone                           300 to 3400 Hz, sampled at 8 kHz
  noise:10 pink:10                    white or pink noise, SNR in dB
  reverb:0.5                          a room by the image method, RT60 in seconds
  resample:22050                      to another rate and back
  level[:-30] trim lowpass[:7000]     one RMS in dB; no silence before and behind; nothing above, Hz
  replay:good|fair|poor               simulated loudspeaker, room, microphone and noise

Utterances keep their ids. What is there is not made again. asvtk robustness makes, scores and tabulates.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

from pathlib import Path

from asvtk.bin.arguments import UsageError, whole_number
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk perturb --data data/eval --how telephone amr:12.2k
      one copy, two degradations one after another
  asvtk perturb --data data/eval --grid default --out data/eval_robustness
      a copy for each cell of the grid
"""


def add_arguments(parser):
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory, such as data/eval")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--how", nargs="+", metavar="NAME", help="degradations, one after another")
    what.add_argument("--grid", metavar="GRID", help="'default', or a YAML file of families and lists")
    parser.add_argument(
        "--out", metavar="DIR", help="data directory to write (default: DATA_HOW); of a grid: their folder"
    )
    parser.add_argument("--seed", type=whole_number(), default=1, help="of all that is random (default 1)")
    parser.add_argument("--nj", type=whole_number(1), default=4, help="processes (default 4)")
    parser.add_argument("--force", action="store_true", help="make again what is there")


def run(args):
    # Their import takes a second.
    from asvtk.augment.grid import chain, read_grid
    from asvtk.augment.perturbation import perturb_grid, perturb_set

    path = Path(args.data)
    if args.grid is None:
        try:
            cell = chain(args.how)
        except AsvtkError as fault:
            raise UsageError(f"--how: {fault}") from None
        out = Path(args.out) if args.out else path.with_name(f"{path.name}_{cell.name}")
        data = perturb_set(DataDirectory.read(path), args.how, out, args.nj, args.force, args.seed)
        print(f"{out}: {len(data.utterances)} utterances")
        return None
    cells = read_grid(args.grid)
    if args.out is None:
        raise UsageError("--grid: needs --out FOLDER, where the copies go")
    made = perturb_grid(DataDirectory.read(path), cells, args.out, args.nj, args.force, args.seed)
    faults = [of for of in made if of.fault]
    print(f"{args.out}: {len(made) - len(faults)} of {len(made)} copies are whole")
    return 1 if faults else 0
