"""How well level, length, silence, noise and bandwidth alone tell a set's bona fide speech from its spoofs.

Such numbers are shortcuts: they say nothing of who speaks. Without scores: areas under the ROC curve of a
detector that is nothing but that shortcut, its direction chosen on the first set: 50 % says nothing, 100 %
tells all. What a shortcut tells in training, a system may learn; where it tells as much in the evaluation, a
good result may rest on it. With scores: whether a system's scores follow a shortcut within a class, as rank
correlations, -1 to 1, and their EER by the bandwidth of bona fide clips.
"""

from asvtk.bin.arguments import whole_number
from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.report.markdown import table_page
from asvtk.report.shortcuts import score_tables, shortcut_table

EXAMPLES = """\
  asvtk shortcuts data/train data/dev data/eval
  asvtk shortcuts data/eval --scores exp/a/scores/eval.txt exp/b/scores/eval.txt
"""


def add_arguments(parser):
    parser.add_argument("data", nargs="+", metavar="DIR", help="data directories, the training set first")
    parser.add_argument(
        "--scores", nargs="+", default=[], metavar="FILE", help="scores of one DIR, such as of several seeds"
    )
    parser.add_argument("--nj", type=whole_number(1), default=4, help="processes (default 4)")
    parser.add_argument("--out", metavar="FILE", help="also write the table there")


def run(args):
    if not args.scores:
        legend = "Areas under the ROC curve of each shortcut alone; medians are those of the first set."
        page = shortcut_table(args.data, args.nj)
    elif len(args.data) > 1:
        raise AsvtkError(f"--scores are those of one data directory; {len(args.data)} were named, name one")
    else:
        legend = "Spearman's rank correlation of scores and shortcuts within each class; EER by bandwidth."
        page = score_tables(args.data[0], args.scores, args.nj)
    print(page)
    if args.out:
        write_text(args.out, table_page("Shortcuts", legend, page))
