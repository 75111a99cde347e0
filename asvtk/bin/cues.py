"""How well level, length, silence, noise and bandwidth alone tell a set's bona fide speech from its spoofs.

    asvtk cues data/train data/dev data/eval

Each number is the area under the ROC curve of a detector that is nothing but that cue, its direction chosen
on the first set: 50 % says nothing, 100 % tells all. What a cue tells in training, a system may learn; where
it tells as much in the evaluation, a good result may rest on it.
"""

from asvtk.io.atomic import write_text
from asvtk.report.cues import cue_table
from asvtk.report.markdown import environment


def add_arguments(parser):
    parser.add_argument("data", nargs="+", metavar="DIR", help="data directories, the training set first")
    parser.add_argument("--nj", type=int, default=4, help="processes (default 4)")
    parser.add_argument("--out", metavar="FILE", help="also write the table there")


def run(args):
    found = cue_table(args.data, args.nj)
    print(found)
    if args.out:
        facts = "\n".join(f"- {what}: {value}" for what, value in environment().items())
        legend = "Areas under the ROC curve of each cue alone; medians are those of the first set."
        write_text(args.out, f"# Cues\n\n{facts}\n\n{legend}\n\n{found}\n")
