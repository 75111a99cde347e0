"""How a system bears codecs, lines, noise and rooms: EER on degraded copies of a set, as a table and a page.

  asvtk robustness --model MODEL --data data/eval --dev data/dev --out robust
      makes the copies of a grid, scores them, and writes robust/ROBUSTNESS.md, .json and .html; the same
      command goes on where it was killed
  asvtk robustness --exp DIR ... --set eval --grid GRID --copies-in FOLDER [--out FILE.md]
      the table of what local/robustness.sh has scored, one system or several seeds of it
  asvtk robustness score --model MODEL --data DIR --grid GRID --copies-in FOLDER --out FOLDER --job J --nj N
      scores a share of the copies, for launchers

MODEL is what 'asvtk score' takes. --dev gives the threshold at which bona fide is rejected and spoofs are
accepted; without it that is the model's own, if it has one. GRID is 'default' or a YAML file, see 'asvtk
perturb'; copies need as much room as the set, each.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

from pathlib import Path

from asvtk.bin.arguments import UsageError, check_share, whole_number
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk robustness --model aasist --data data/eval --dev data/dev --out robust
"""


def add_arguments(parser):
    parser.add_argument("action", nargs="?", choices=("score",), help="the share of a job")
    parser.add_argument("--grid", metavar="GRID", help="'default' (the default), or a YAML file")
    parser.add_argument("--copies-in", metavar="FOLDER", help="of the copies (default: OUT/data)")
    parser.add_argument("--out", metavar="PATH", help="folder to write; with --exp the table, FILE.md")
    model = parser.add_argument_group("with a model")
    model.add_argument("--model", metavar="MODEL", help="packed, an experiment, published weights, or a name")
    model.add_argument("--data", metavar="DIR", help="data directory to degrade, of both classes")
    model.add_argument("--dev", metavar="DIR", help="data directory whose EER gives the threshold")
    model.add_argument("--seed", type=whole_number(), default=1, help="of all that is random (default 1)")
    model.add_argument("--ngpu", type=whole_number(0, 1), default=0, help="0: CPU, 1: GPU (default 0)")
    model.add_argument("--nj", type=whole_number(1), default=4, help="processes; of score: jobs (default 4)")
    model.add_argument("--job", type=whole_number(1), default=1, help="score: which job (default 1)")
    trained = parser.add_argument_group("with experiments")
    trained.add_argument("--exp", nargs="+", metavar="DIR", help="experiments, one a seed")
    trained.add_argument("--set", metavar="NAME", help="the original; DIR/scores/NAME.txt")
    trained.add_argument(
        "--copies", nargs="+", metavar="NAME", help="DIR/robustness/NAME.txt, without a grid"
    )


def run(args):
    if (args.model is None) == (args.exp is None):
        raise UsageError("expected --model with --data and --out, or --exp with --set")
    if args.exp is not None:
        return _tabulate(args)
    if args.data is None or args.out is None:
        raise UsageError("--model: needs --data DIR and --out FOLDER")
    if args.action == "score":
        check_share(args.job, args.nj)
    return _with_model(args)


def _tabulate(args) -> None:
    from asvtk.augment.grid import DEFAULT, read_grid
    from asvtk.report.robustness import Copy, of_experiments, tables
    from asvtk.report.robustness_page import write_robustness

    if args.action or args.set is None or args.copies and args.grid:
        raise UsageError("--exp: needs --set NAME, and either --grid or --copies")
    if args.copies:
        copies = [Copy(name, name) for name in args.copies]
    else:
        copies = [Copy.of(cell, args.set) for cell in read_grid(args.grid or DEFAULT)]
    systems, reasons = of_experiments(args.exp, args.set, copies, complete=bool(args.copies))
    print(tables(systems, reasons))
    if args.out:
        write_robustness(args.out, systems, reasons)


def _with_model(args) -> int:
    from asvtk.augment.grid import DEFAULT, read_grid
    from asvtk.augment.perturbation import copy_folder, perturb_grid
    from asvtk.inference.pretrained import require_model
    from asvtk.report.robustness import Copy

    require_model(args.model)
    cells = read_grid(args.grid or DEFAULT)
    data, out = DataDirectory.read(args.data), Path(args.out)
    dev = None if args.dev is None else DataDirectory.read(args.dev)
    if dev is not None and dev.name == data.name:
        raise UsageError(f"--dev {args.dev}: is called as --data is; name another set")
    copies_in = Path(args.copies_in) if args.copies_in else out / "data"
    if args.action == "score":
        share = cells[args.job - 1 :: args.nj]
        paths = [copy_folder(copies_in, data, cell) for cell in share]
        faults = _Scorer(args).score(paths, out)
        return 1 if faults else 0
    made = perturb_grid(data, cells, copies_in, args.nj, seed=args.seed)
    scorer, scores = _Scorer(args), out / "scores"
    faults = scorer.score([of.path for of in made], scores, first=[data, *([dev] if dev else [])])
    copies = [Copy.of(cell, data.name) for cell in cells]
    _report(args, scorer, data, dev, copies)
    return 1 if faults or any(of.fault for of in made) else 0


def _report(args, scorer, data, dev, copies) -> None:
    from asvtk.io.scores import read_scores
    from asvtk.metrics.operating_point import point_of
    from asvtk.report.robustness import Robustness, measure, tables
    from asvtk.report.robustness_page import write_robustness

    scores, detector = Path(args.out) / "scores", scorer.detector
    threshold, note = detector.threshold, "The threshold is the one that the model brings."
    if dev is not None:
        table = read_scores(scores / f"{dev.name}.txt")
        classes = table.scores[table.bonafide], table.scores[~table.bonafide]
        threshold, note = point_of(*classes, "eer")["threshold"], ""
    elif threshold is None:
        note = "There is no threshold: the model brings none, and no --dev was named."
    rates = measure(scores / f"{data.name}.txt", scores, copies, data.name, threshold, complete=False)
    systems = [Robustness([detector.name], data.name, copies, [rates])]
    page = Path(args.out) / "ROBUSTNESS.md"
    write_robustness(page, systems, [], note)
    print(tables(systems, []))
    print(f"\n{page}, {page.with_suffix('.json')}, {page.with_suffix('.html')}")


class _Scorer:
    """The model, and what it has scored."""

    def __init__(self, args):
        import torch

        from asvtk.inference.load import load
        from asvtk.training.distributed import choose_device

        # As asvtk score does: a GPU's convolutions would round to 10 bits otherwise.
        torch.backends.cudnn.allow_tf32 = False
        self.detector = load(args.model, choose_device(args.ngpu))

    def score(self, paths: list[Path], out: Path, first=()) -> int:
        """Write OUT/NAME.txt for the sets ``first`` and data directories; returns how many lack something."""
        from tqdm import tqdm

        faults = 0
        for item in tqdm([*first, *paths], desc="sets", unit="set", disable=None):
            try:
                data = item if isinstance(item, DataDirectory) else DataDirectory.read(item)
                self._score_set(data, out / f"{data.name}.txt")
            except AsvtkError as fault:
                if item in first:
                    raise
                faults += 1
                _warn(str(fault))
        return faults

    def _score_set(self, data: DataDirectory, path: Path) -> None:
        from asvtk.inference.recordings import score_set
        from asvtk.io.errors import listing
        from asvtk.io.scores import write_scores
        from asvtk.io.stamps import read_stamp, write_stamp

        stamp, basis = path.with_name(f".{path.stem}.done"), self._basis(data)
        if path.exists() and read_stamp(stamp) == basis:
            return

        scores, reasons = score_set(self.detector, data)
        if scores:
            attacks, labels = ([table[u] for u in scores] for table in (data.attack, data.label))
            stamp.unlink(missing_ok=True)
            write_scores(path, list(scores), attacks, labels, list(scores.values()))
        if reasons:
            raise AsvtkError(f"{data.path}: {len(reasons)} utterances have no score: {listing(reasons, 3)}")
        write_stamp(stamp, basis)

    def _basis(self, data: DataDirectory) -> dict:
        return {"model": self.detector.sha256, "data": data.digest()}


def _warn(message: str) -> None:
    import logging

    logging.getLogger("asvtk.robustness").warning(message)
