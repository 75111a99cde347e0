"""The two ends of local/ablations.sh and compare.sh: list of cells -> configurations; experiments -> tables.

asvtk ablations configs LIST FOLDER [--cells NAME ...]
    writes FOLDER/NAME.yaml for each cell and prints 'NAME FRONT-END' lines; cells that agree in the second
    word share their caches
asvtk ablations table LIST EXPDIR --seeds A:B [--cells NAME ...] [--note TEXT]
    writes EXPDIR/RESULTS.md and prints it
asvtk ablations systems LIST EXPDIR --seeds A:B --trained TITLE=NAME ... [--cells NAME ...] [--note TEXT]
    the same of systems by training conditions; the experiments of each are in EXPDIR/NAME
"""

from pathlib import Path

from asvtk.bin.arguments import seed_range
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk ablations configs conf/ablations/small.yaml exp/small/conf
  asvtk ablations table conf/ablations/small.yaml exp/small --seeds 1:3
"""


def add_arguments(parser):
    steps = parser.add_subparsers(dest="step", required=True, metavar="configs | table | systems")
    for name, folder in (
        ("configs", "where to write the configurations"),
        ("table", "folder of the experiments"),
        ("systems", "where the folders of experiments are, one for each training condition"),
    ):
        step = steps.add_parser(name, allow_abbrev=False)
        step.add_argument("list", metavar="LIST", help="YAML list of cells")
        step.add_argument("folder", metavar="DIR", help=folder)
        step.add_argument("--cells", nargs="*", metavar="NAME", help="only these (default: all)")
        if name != "configs":
            seeds = {"required": True, "type": seed_range, "metavar": "A:B"}
            step.add_argument("--seeds", **seeds, help="the seeds trained")
            step.add_argument("--note", metavar="TEXT", help="a sentence on the conditions")
    step.add_argument("--trained", nargs="+", required=True, metavar="TITLE=NAME", help="training conditions")


def run(args):
    from asvtk.report.ablations import ablation_table, read_list, write_config

    cells = _chosen(read_list(args.list), args)
    if args.step == "configs":
        for cell in cells:
            print(cell.name, write_config(cell, args.folder))
        return
    from asvtk.io.atomic import write_text
    from asvtk.report.markdown import table_page

    seeds = f"{len(args.seeds)} seeds, mean ± standard deviation" if len(args.seeds) > 1 else "one seed"
    about = f"{seeds}. Epochs are chosen on dev where that is evaluated more than once. An epoch's seconds "
    about += "include the evaluation of dev."
    about = f"{about} {args.note or ''}".rstrip()
    if args.step == "table":
        page = table_page("Ablations", about, ablation_table(cells, args.seeds, args.folder))
    else:
        from asvtk.report.systems import systems_tables

        about += " Of several dev sets the mean EER counts."
        folders = {title: Path(args.folder) / name for title, name in map(_condition, args.trained)}
        page = table_page("Systems", about, systems_tables(cells, args.seeds, folders))
    write_text(Path(args.folder) / "RESULTS.md", page)
    print(page)


def _condition(word: str) -> tuple[str, str]:
    title, equals, name = word.rpartition("=")
    if not equals:
        raise AsvtkError(f"--trained {word}: expected TITLE=NAME")
    return title, name


def _chosen(cells: list, args) -> list:
    wanted = args.cells or [cell.name for cell in cells]
    if unknown := set(wanted) - {cell.name for cell in cells}:
        names = ", ".join(cell.name for cell in cells)
        raise AsvtkError(f"{args.list}: no cell {sorted(unknown)[0]!r}; there are {names}")
    return [cell for cell in cells if cell.name in wanted]
