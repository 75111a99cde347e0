"""The table of local/robustness.sh: EER on a set and on its changed copies, of one or several seeds."""

from asvtk.io.atomic import write_text
from asvtk.report.markdown import table_page
from asvtk.report.robustness import robustness_table


def add_arguments(parser):
    parser.add_argument("--exp", required=True, nargs="+", metavar="DIR", help="experiments, one a seed")
    parser.add_argument("--set", required=True, metavar="NAME", help="the original; DIR/scores/NAME.txt")
    parser.add_argument("--copies", required=True, nargs="+", metavar="NAME", help="DIR/robustness/NAME.txt")
    parser.add_argument("--out", metavar="FILE", help="also write the table there")


def run(args):
    table = robustness_table(args.exp, args.set, args.copies)
    print(table)
    if args.out:
        legend = "Rejected and accepted: at the threshold of the EER of dev. Change: of the EER."
        write_text(args.out, table_page("Robustness", legend, table))
