"""Hyper-parameter search, as local/tune.sh starts it: Optuna proposes, run.sh trains, the dev EER is told.

To the command after -- it adds configuration, data, tag, seeds and stages of a trial, and no test sets:
nothing but dev is looked at. Writes EXPDIR/RESULTS.md, tune.html and best.yaml after each trial. Killed, the
same command goes on; a trial that failed stands in the table, and the same command tries it again.
"""

import shutil
import subprocess
from pathlib import Path

from asvtk.bin.arguments import UsageError, seed_range, whole_number
from asvtk.io.atomic import write_text
from asvtk.io.config import load_yaml, to_mapping
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk tune --config conf/a.yaml --space conf/tune/a.yaml --trials 50 --expdir exp/tune_a \\
      --train-data data/train --dev-data data/dev -- ./run.sh --corpus LA --expdir exp/tune_a
"""

SAMPLERS = ("tpe", "random", "grid")
#: sections of a configuration that caches depend on
_OF_CACHES = {"frontend", "augmentation"}


def add_arguments(parser):
    def option(name, help, metavar=None, **more):
        parser.add_argument(name, help=help, metavar=metavar, **more)

    option("--config", "what is searched around", "FILE", required=True)
    option("--space", "its keys with ranges and choices", "FILE", required=True)
    option("--expdir", "study, experiments and results", "DIR")
    option("--train-data", "data directories to train on", "DIR", nargs="+")
    option("--dev-data", "data directories to judge on: the mean of their EERs", "DIR", nargs="+")
    option("--folds", "judge by cross-validation on the training set instead", "K", type=whole_number(2, 100))
    option("--fold-by", "folds share no value of it (default: %(default)s)", "COLUMN", default="speaker")
    option("--trials", "in all (default: %(default)s)", "N", type=whole_number(1), default=50)
    option("--parallel", "trials at a time (default: %(default)s)", "N", type=whole_number(1), default=1)
    option("--seeds", "of each trial (default: 1:3)", "A:B", type=seed_range, default=[1, 2, 3])
    option("--sampler", "what proposes trials (default: %(default)s)", choices=SAMPLERS, default="tpe")
    option("--search-seed", "of the sampler (default: %(default)s)", "S", type=whole_number(), default=1)
    checks = "only check the space, and print the first stage of a trial: 2, or 3 where all have one cache"
    parser.add_argument("--check", action="store_true", help=checks)
    parser.add_argument("--force", action="store_true", help="throw away the study and its experiments")
    option("command", "after --: run.sh with the options of a recipe", "RUN.SH", nargs="*")


def run(args):
    from asvtk.bin.tune_trials import Trials, log
    from asvtk.io.locks import locked
    from asvtk.training.config import load_config
    from asvtk.training.search import Search, grid_points, require_optuna
    from asvtk.training.search_space import check_space, configured_point, read_space

    space, config, content = read_space(args.space), load_config(args.config), load_yaml(args.config)
    check_space(space, args.space, content, args.config)
    if config.training.eval_all_best:
        raise AsvtkError(
            f"{args.config}: training.eval_all_best looks at eval, which a search must not: set it to false"
        )
    if args.folds and config.vocoded is not None:
        raise AsvtkError(
            f"{args.config}: --folds does not go with vocoded data, which are made of whole sets"
        )
    require_optuna()
    if args.sampler == "grid":
        grid_points(space, args.search_seed)
    stage = 2 if args.folds or _OF_CACHES & {key.split(".")[0] for key in space} else 3
    if args.check:
        print(stage)
        return None
    if not (args.expdir and args.train_data and args.command and bool(args.folds) != bool(args.dev_data)):
        needed = "--expdir, --train-data, either --dev-data or --folds, and the command after --"
        raise UsageError(f"{needed} are needed")
    folder, data = Path(args.expdir), [DataDirectory.read(path) for path in args.train_data]
    if args.folds:
        judged = {"folds": args.folds, "fold by": args.fold_by}
    else:
        judged = {"dev": {of.name: of.digest() for of in map(DataDirectory.read, args.dev_data)}}
    basis = {
        "config": to_mapping(config),
        "space": load_yaml(args.space),
        "seeds": args.seeds,
        "train": {of.name: of.digest() for of in data},
        **judged,
    }
    with locked(folder / ".tune.lock", "searches"):
        if args.force:
            _clear(folder)
        start = None if args.sampler == "grid" else configured_point(space, content)
        search = Search(folder, space, basis, args.sampler, args.search_seed, start)
        if search.size < args.trials:
            log(f"the grid has {search.size} points: so many trials and no more")
        folds = _make_folds(data, args, folder) if args.folds else [([of.name for of in data], None)]
        trials = Trials(args, content, search, folds, stage, configured=start is not None)
        trials.run()
        best = trials.write_results()
    if failed := [of for of in search.outcomes() if of.eers is None]:
        log(f"trials without a result: {len(failed)}; the same command tries them again")
    log(f"see {folder / 'RESULTS.md'}" + ("" if best is None else f"; the best: {folder / 'best.yaml'}"))
    return int(bool(failed))


def _make_folds(data: list, args, folder: Path) -> list[tuple[list[str], list[str]]]:
    """Data directories of the parts of a training set, beside it; train and dev names of each fold."""
    from asvtk.training.folds import grouped_folds

    if len(data) > 1:
        raise AsvtkError("--folds goes with one training set; utils/combine_data.sh makes one of several")
    (whole,) = data
    names = []
    for number, utterances in enumerate(grouped_folds(whole, args.folds, args.fold_by), 1):
        names.append(f"{whole.name}_{args.fold_by}_fold{number}of{args.folds}")
        listed = folder / "conf" / names[-1]
        write_text(listed, "".join(f"{utterance}\n" for utterance in utterances))
        words = ["subset_data_dir.sh", "--utt-list", listed, whole.path, whole.path.with_name(names[-1])]
        if subprocess.run(words).returncode:
            raise AsvtkError(f"{whole.path}: subset_data_dir.sh of utils/ failed, it has said why")
    return [([name for name in names if name != held], [held]) for held in names]


def _clear(folder: Path) -> None:
    # The study last: killed in between, what is left is still of that search.
    for experiment in folder.glob("trial_[0-9]*"):
        shutil.rmtree(experiment)
    for path in (
        *folder.glob("conf/trial_*.yaml"),
        *folder.glob("log/trial_*.log"),
        *folder.glob("study.db*"),
    ):
        path.unlink()
